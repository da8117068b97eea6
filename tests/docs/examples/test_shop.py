"""The shop does what it says."""

import json

import pytest

from context_async_sqlalchemy import DBConnect, db_context
from examples.shop import repository
from examples.shop.database import INITIAL_STOCK, PRODUCTS
from examples.shop.domain import Shop
from examples.shop.pool import pool_of
from tests.docs.examples.support import Client, GatedPayments, basket, books

NOBODY = 999


async def test_products_are_listed_page_by_page_and_shown(client: Client) -> None:
    listed = await (await client.get("/products", params={"after": "198"})).json()
    assert [product["id"] for product in listed] == [199, 200]
    shown = await (await client.get("/products/200")).json()
    assert shown == listed[1] == {"id": 200, "name": "Product 200", "price_cents": 1500, "stock": INITIAL_STOCK}


@pytest.mark.parametrize("route", ["/orders", "/orders-early", "/orders-late", "/orders-impossible"])
async def test_an_order_takes_from_the_stock(client: Client, connection: DBConnect, route: str) -> None:
    answer = await client.post(route, json=basket((2, 3), (1, 1)))
    order = await answer.json()
    assert answer.status == 201
    assert order["total_cents"] == 3 * 114 + 107
    paid = route in {"/orders-early", "/orders-late"}
    assert order["receipt"] == (f"receipt-{order['id']}-449" if paid else None)
    assert await books(connection) == repository.Bookkeeping(
        orders=1, paid_orders=int(paid), sold=4, in_stock=PRODUCTS * INITIAL_STOCK - 4
    )


@pytest.mark.parametrize(
    ("route", "held"),
    [pytest.param("/orders-late", 1, marks=pytest.mark.db_held_idle(max=None)), ("/orders-early", 0)],
)
async def test_only_the_late_order_holds_a_connection_while_it_is_paid(
    client: Client, payments: GatedPayments, route: str, held: int
) -> None:
    await client.post(route, json=basket((1, 1)))
    assert payments.in_use == [held]


async def test_a_failing_commit_is_a_500_and_nothing_stays(client: Client, connection: DBConnect) -> None:
    before = await books(connection)
    answer = await client.post("/orders-impossible", json=basket((1, 1), customer_id=NOBODY))
    assert answer.status == 500
    error = (await answer.json())["error"]
    assert error.startswith("the order could not be committed: insert or update on table")
    assert "orders_have_a_customer" in error
    assert await books(connection) == before


@pytest.mark.parametrize(
    ("route", "order", "refusal"),
    [
        ("/orders", basket((1, 1), (2, INITIAL_STOCK + 1)), (409, "there are no 1000001 of product 2")),
        ("/orders", basket((PRODUCTS + 1, 1)), (409, "there are no 1 of product 201")),
        ("/orders-early", basket((1, 1), customer_id=NOBODY), (404, "there is no customer 999")),
        ("/orders", basket(), (400, "items must be a list with at least one element")),
        ("/orders", basket((1, 0)), (400, "quantity must be a whole number from 1 to 2147483647")),
        ("/orders", basket((1, True)), (400, "quantity must be a whole number from 1 to 2147483647")),
        ("/orders", {"customer_id": 1, "items": [1]}, (400, "an element of items must be a JSON object")),
        ("/orders", [], (400, "the body must be a JSON object")),
    ],
)
async def test_a_refused_order_changes_nothing(
    client: Client, connection: DBConnect, route: str, order: object, refusal: tuple[int, str]
) -> None:
    before = await books(connection)
    answer = await client.post(route, json=order)
    assert (answer.status, (await answer.json())["error"]) == refusal
    assert await books(connection) == before


@pytest.mark.parametrize(
    ("path", "status"), [("/products/201", 404), ("/products/x", 400), (f"/products/{2**31}", 400)]
)
async def test_a_product_that_is_not_there(client: Client, path: str, status: int) -> None:
    assert (await client.get(path)).status == status


async def test_a_body_that_is_no_json(client: Client) -> None:
    answer = await client.post("/orders", data=b"\xff")
    assert answer.status == 400
    assert (await answer.json())["error"].startswith("the body must be JSON")


async def test_the_export_is_a_stream_of_the_newest_orders(client: Client) -> None:
    ids = [(await (await client.post("/orders", json=basket((1, 1)))).json())["id"] for _ in range(3)]
    answer = await client.get("/export", params={"at_most": "2"})
    assert answer.headers["X-Newest-Order"] == str(ids[2])
    assert [json.loads(line)["id"] for line in (await answer.text()).splitlines()] == [ids[2], ids[1]]


async def test_the_export_holds_no_connection_between_its_pages(
    client: Client, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.shop.domain._ORDERS_PER_PAGE", 2)
    for _ in range(3):
        await client.post("/orders", json=basket((1, 1)))
    sizes: list[int] = []
    async with db_context():
        async for page in shop.export_orders(await shop.newest_order_id(), at_most=10):
            sizes.append(len(page))
            assert pool_of(shop.connection).checkedout() == 0
    assert sizes == [2, 1]
