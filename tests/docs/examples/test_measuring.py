"""What the demo measures and checks is true."""

import asyncio
from collections import Counter
from typing import cast

import pytest

from context_async_sqlalchemy import DBConnect, db_context
from context_async_sqlalchemy.observer import Checkout, ContextRecord, ObservedPool
from examples.shop import repository
from examples.shop.checks import ErrorLog, find_problems
from examples.shop.database import POOL_SIZE
from examples.shop.observations import Observations
from examples.shop.pool import pool_of
from examples.shop.tally import Latencies, PhaseTally, RouteTally
from tests.docs.examples.support import Client, GatedPayments, basket
from tests.support.waiting import until

_POOL = cast(ObservedPool, object())


async def test_the_pool_counts_who_waits_and_nobody_else(
    client: Client, connection: DBConnect, payments: GatedPayments
) -> None:
    pool = pool_of(connection)
    payments.gate.clear()
    orders = [
        asyncio.create_task(client.post("/orders-late", json=basket((product, 1))))
        for product in range(1, POOL_SIZE + 3)
    ]
    await until(lambda: len(payments.in_use) == POOL_SIZE and pool.waiting == 2, "two orders wait")
    assert pool.checkedout() == POOL_SIZE
    payments.gate.set()
    assert {answer.status for answer in await asyncio.gather(*orders)} == {201}
    assert (pool.waiting, pool.most_waiting, pool.had_to_wait, pool.checkedout()) == (0, 2, 2, 0)
    pool.restart_counting()
    assert (pool.most_waiting, pool.had_to_wait) == (0, 0)


@pytest.mark.parametrize(("held_ms", "busy_ms", "advised"), [(100, 20, True), (100, 80, False), (20, 4, False)])
def test_only_a_route_that_mostly_holds_idle_and_for_long_is_advised(held_ms: int, busy_ms: int, advised: bool) -> None:
    context = ContextRecord("POST /orders-late", began_at=0, epoch_offset=0)
    observations = Observations()
    held, busy = held_ms * 1_000_000, busy_ms * 1_000_000
    for _ in range(2):
        observations.checkout_ended(Checkout(_POOL, context, asked_at=0, taken_at=0, released_at=held, busy=busy))
    advice = (
        "POST /orders-late holds its connection idle 80% of 100 ms: "
        "release it before the payment call, by await commit_db_session(connection)."
    )
    assert observations.advice() == ([advice] if advised else [])


@pytest.mark.db_nested_checkouts(max=None)
async def test_problems_are_found(client: Client, connection: DBConnect) -> None:
    tally = PhaseTally("Load", {"POST /orders": RouteTally(expected=201)})
    errors = ErrorLog()
    assert (await client.post("/orders", json=basket((1, 1)))).status == 201
    tally.routes["POST /orders"].add("201", 0.01)
    assert await find_problems(connection, [tally], errors) == []

    tally.routes["POST /orders"].add("201", 0.01)
    tally.routes["POST /orders"].add("ServerDisconnectedError", 0.01)
    errors.messages = Counter({"asyncio: Task exception was never retrieved": 3})
    async with db_context():
        await repository.newest_order_id(connection)
        assert await find_problems(connection, [tally], errors) == [
            "logged 3 times: asyncio: Task exception was never retrieved",
            "1 connections are still checked out after the last answer",
            "Load: POST /orders answered ServerDisconnectedError 1 times",
            "1 orders in the database, but 2 answered with 201",
        ]


def test_percentiles_are_right_within_a_percent() -> None:
    latencies = Latencies()
    for number in range(1, 1001):
        latencies.add(number / 1000)
    assert latencies.milliseconds(50) == pytest.approx(500, rel=0.01)
    assert latencies.milliseconds(99) == pytest.approx(990, rel=0.01)
