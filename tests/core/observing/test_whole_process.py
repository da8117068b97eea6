"""Observers of the whole process, and the events that they need: checkouts that begin, and contexts used too late."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from time import perf_counter_ns

import pytest

from context_async_sqlalchemy import ContextClosedError, DBConnect, db_context, db_session
from context_async_sqlalchemy.adapter_kit import (
    Lifecycle,
    await_chain,
    calling_places,
    context_or_none,
    observe_process,
)
from context_async_sqlalchemy.observer import Checkout, Observer
from context_async_sqlalchemy.test_utils import rolled_back
from tests.conformance.statements import run
from tests.core.observing.engines import SELECT, engine_of
from tests.support.connections import connect_to
from tests.support.database import Database


class Watcher(Observer):
    """Keeps the checkouts, and says where each began and where a context was used too late."""

    def __init__(self) -> None:
        self.begun: list[Checkout] = []
        self.ended: list[Checkout] = []
        self.begun_at: list[list[str]] = []
        self.late_at: list[list[str]] = []
        self.late_routes: list[str | None] = []

    def checkout_began(self, checkout: Checkout) -> None:
        self.begun.append(checkout)
        self.begun_at.append([code.co_name for code, _ in calling_places()])

    def checkout_ended(self, checkout: Checkout) -> None:
        self.ended.append(checkout)

    def context_used_late(self) -> None:
        self.late_at.append([code.co_name for code, _ in calling_places()])
        context = context_or_none()
        self.late_routes.append(context.record.route if context is not None and context.record is not None else None)


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def stop(watcher: Watcher) -> Generator[Callable[[], None]]:
    """Observe the process until the end of the test."""
    stop = observe_process(watcher)
    yield stop
    stop()


@pytest.mark.usefixtures("stop")
async def test_a_connection_that_no_application_has_set_up_is_observed(connection: DBConnect, watcher: Watcher) -> None:
    async with db_context():
        await run(connection, "SELECT 1")
        (checkout,) = watcher.begun
        assert checkout.pool.name == connection.name
        assert watcher.begun_at[0].index("run") < watcher.begun_at[0].index(
            "test_a_connection_that_no_application_has_set_up_is_observed"
        )
        at_once = checkout.idle_for(perf_counter_ns())
        await asyncio.sleep(0.02)
        assert checkout.idle_for(perf_counter_ns()) >= at_once + 0.02
        assert watcher.ended == []
    assert watcher.ended == [checkout]
    assert checkout.idle_for(perf_counter_ns()) == checkout.idle_seconds >= 0.02


async def test_engines_that_exist_already_are_observed_until_the_observing_ends(
    connection: DBConnect, watcher: Watcher
) -> None:
    await engine_of(connection)
    stop = observe_process(watcher)
    async with db_context():
        await run(connection, "SELECT 1")
    stop()
    stop()
    async with db_context():
        await run(connection, "SELECT 1")
    assert len(watcher.begun) == 1


@pytest.mark.usefixtures("stop")
async def test_an_application_without_observers_is_observed(database: Database, watcher: Watcher) -> None:
    connection = connect_to(database.url)
    lifecycle = Lifecycle([connection], observers=())
    async with db_context():
        await run(connection, "SELECT 1")
    await lifecycle.shut_down()
    assert len(watcher.ended) == 1


@pytest.mark.usefixtures("stop")
async def test_the_use_of_a_context_that_has_ended_is_told(connection: DBConnect, watcher: Watcher) -> None:
    async def late_session() -> None:
        with pytest.raises(ContextClosedError):
            await db_session(connection)

    async def late_statement() -> None:
        with pytest.raises(ContextClosedError):
            await session.connection()

    async with db_context():
        session = await db_session(connection)
        await run(connection, "SELECT 1")
        ended = asyncio.Event()
        tasks = [asyncio.create_task(_after(ended, function)) for function in (late_session, late_statement)]
    assert watcher.late_at == []
    ended.set()
    await asyncio.gather(*tasks)
    by_session, by_statement = watcher.late_at
    assert "late_session" in by_session
    assert "late_statement" in by_statement
    assert watcher.late_routes == ["none", "none"]


@pytest.mark.usefixtures("stop")
async def test_sessions_that_share_a_connection_are_told_as_if_each_had_its_own(
    connection: DBConnect, watcher: Watcher
) -> None:
    async with rolled_back(connection) as session:
        await session.execute(SELECT)
        (block,) = watcher.begun
        assert block.context is None
        async with db_context():
            await run(connection, "SELECT 1")
            outer = watcher.begun[1]
            await asyncio.sleep(0.02)
            async with db_context():
                await run(connection, "SELECT pg_sleep(0.1)")
                inner = watcher.begun[2]
            assert outer.idle_for(perf_counter_ns()) >= 0.02
            assert watcher.ended == [inner]
        assert watcher.ended == [inner, outer]
        assert outer.context is not None
        assert inner.context is not outer.context
        # The time of the other session's statement is not idle either.
        assert 0.02 <= outer.idle_seconds <= outer.hold_seconds - 0.1
        assert inner.idle_seconds <= inner.hold_seconds - 0.1
    assert watcher.ended == [inner, outer, block]


async def _after(event: asyncio.Event, function: Callable[[], Awaitable[None]]) -> None:
    await event.wait()
    await function()


async def test_the_chain_of_a_task_ends_where_it_waits() -> None:
    gate = asyncio.Event()
    task = asyncio.create_task(_outer(gate))
    await asyncio.sleep(0)
    names = [code.co_name for code, _ in await_chain(task.get_coro())]
    assert names == ["_outer", "_inner", "wait"]
    lines = [line - code.co_firstlineno for code, line in await_chain(task.get_coro())]
    assert lines[:2] == [1, 1]
    gate.set()
    await task


async def _outer(gate: asyncio.Event) -> None:
    await _inner(gate)


async def _inner(gate: asyncio.Event) -> None:
    await gate.wait()
