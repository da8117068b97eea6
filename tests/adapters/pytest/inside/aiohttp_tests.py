"""Tests of an aiohttp application, with pytest-aiohttp."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient
from sqlalchemy import text

from context_async_sqlalchemy import ContextClosedError, DBConnect, db_context, setup_db
from context_async_sqlalchemy.context import init_db_session_ctx
from context_async_sqlalchemy.test_utils import rolled_back
from tests.adapters.pytest.inside import shop

Work = Callable[[DBConnect], Awaitable[None]]


def _application(work: Work, given: DBConnect | None = None) -> web.Application:
    connection = given or shop.connect()

    async def create_order(_request: web.Request) -> web.Response:
        await work(connection)
        return web.Response()

    app = web.Application()
    app.router.add_post("/orders/{id}", create_order)
    setup_db(app, [connection], observers=())
    return app


async def _post(aiohttp_client: AiohttpClient, work: Work) -> None:
    client = await aiohttp_client(_application(work))
    assert (await client.post("/orders/7")).status == 200


async def test_late_payment(aiohttp_client: AiohttpClient) -> None:
    await _post(aiohttp_client, shop.pay_late)


@pytest.mark.db_held_idle(max=60)
async def test_late_payment_within_its_limit(aiohttp_client: AiohttpClient) -> None:
    await _post(aiohttp_client, shop.pay_late)


@pytest.mark.db_held_idle(max=None)
async def test_late_payment_without_a_limit(aiohttp_client: AiohttpClient) -> None:
    await _post(aiohttp_client, shop.pay_late)


@pytest.mark.db_held_idle(max="60s")
async def test_early_payment(aiohttp_client: AiohttpClient) -> None:
    await _post(aiohttp_client, shop.pay_early)


async def test_a_failure_of_its_own(aiohttp_client: AiohttpClient) -> None:
    await _post(aiohttp_client, shop.pay_late)
    pytest.fail("a failure of its own")


async def test_late_payment_rolled_back(aiohttp_client: AiohttpClient) -> None:
    connection = shop.connect()
    async with rolled_back(connection) as session:
        await session.execute(text("SELECT 1"))
        client = await aiohttp_client(_application(shop.pay_late, connection))
        assert (await client.post("/orders/7")).status == 200


@pytest.mark.db_held_idle(max=None)
async def test_nested_rolled_back(aiohttp_client: AiohttpClient) -> None:
    connection = shop.connect()
    async with rolled_back(connection):
        client = await aiohttp_client(_application(shop.nest, connection))
        assert (await client.post("/orders/7")).status == 200


async def test_a_test_session_that_is_rolled_back() -> None:
    async with rolled_back(shop.connect()) as session:
        await session.execute(text("SELECT 1"))
        await shop.pay()


async def test_blocking(aiohttp_client: AiohttpClient) -> None:
    await _post(aiohttp_client, shop.compute)


@pytest.mark.db_held_idle(max=None)
class TestOthers:
    """The other mistakes."""

    async def test_nested(self, aiohttp_client: AiohttpClient) -> None:
        await _post(aiohttp_client, shop.nest)

    async def test_nested_in_tasks(self, aiohttp_client: AiohttpClient) -> None:
        await _post(aiohttp_client, shop.nest_in_tasks)

    @pytest.mark.db_nested_checkouts(max=1)
    async def test_nested_once_as_allowed(self, aiohttp_client: AiohttpClient) -> None:
        await _post(aiohttp_client, shop.nest)

    async def test_side_by_side(self, aiohttp_client: AiohttpClient) -> None:
        await _post(aiohttp_client, shop.side_by_side)

    async def test_late_task(self, aiohttp_client: AiohttpClient) -> None:
        answered = asyncio.Event()
        tasks: list[asyncio.Task[None]] = []

        async def start_a_task(connection: DBConnect) -> None:
            await shop.query(connection)
            tasks.append(asyncio.create_task(shop.audit(connection, answered), name="audit"))

        await _post(aiohttp_client, start_a_task)
        answered.set()
        with pytest.raises(ContextClosedError):
            await tasks[0]

    async def test_unclosed(self) -> None:
        connection = shop.connect()
        init_db_session_ctx()
        await shop.query(connection)

    async def test_a_job(self) -> None:
        connection = shop.connect()
        async with db_context():
            await shop.query(connection)
        await connection.close()


@pytest.fixture
async def prepared() -> None:
    connection = shop.connect()
    async with db_context():
        await shop.pay_late(connection)
    await connection.close()


@pytest.mark.usefixtures("prepared")
async def test_what_a_fixture_does_is_left_alone() -> None:
    pass
