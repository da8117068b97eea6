"""Suspected leaks, and what the time-out of an exhausted pool says."""

import asyncio
import logging
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from context_async_sqlalchemy import DBConnect, db_context, db_session, new_non_ctx_session
from context_async_sqlalchemy.adapter_kit import Lifecycle, leave_context, open_context
from tests.conformance.statements import run
from tests.core.observing.conftest import Observe
from tests.support.connections import connect_to
from tests.support.database import Database
from tests.support.recorder import Recorder
from tests.support.waiting import until


def _messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def _hold_for_too_long(connection: DBConnect, release: asyncio.Event) -> None:
    async with db_context():
        await run(connection, "SELECT 1")
        await _wait_for_a_slow_service(release)


async def _wait_for_a_slow_service(release: asyncio.Event) -> None:
    await release.wait()


@pytest.mark.parametrize("stacks", [False, True])
async def test_a_connection_that_is_held_for_too_long_is_named(
    database: Database, observe: Observe, recorder: Recorder, caplog: pytest.LogCaptureFixture, stacks: bool
) -> None:
    connection = connect_to(database.url)
    observe(connection, leak_threshold=0.05, leak_stacks=stacks)
    release = asyncio.Event()
    task = asyncio.create_task(_hold_for_too_long(connection, release))
    await until(lambda: bool(recorder.suspected), "a leak is suspected")
    await asyncio.sleep(0.1)
    (leak,) = recorder.suspected
    assert leak.held_seconds >= 0.05
    assert leak.holder.index("_hold_for_too_long") < leak.holder.index("_wait_for_a_slow_service (test_watching.py:")
    (message,) = _messages(caplog)
    assert "'main'" in message
    assert "none has held a connection for 0." in message
    assert leak.holder in message
    # Both places are named from the outermost call to the innermost one.
    taken = message.partition("It was taken at: ")[2].partition(". ")[0]
    assert (" > run (statements.py:" in taken) is stacks
    assert recorder.returned == []
    release.set()
    await task
    (returned,) = recorder.returned
    assert returned.checkout is leak.checkout
    assert returned.held_seconds > leak.held_seconds
    assert "came back after" in _messages(caplog)[1]


async def test_what_is_given_back_in_time_is_not_suspected(
    database: Database, observe: Observe, recorder: Recorder
) -> None:
    connection = connect_to(database.url)
    observe(connection, leak_threshold=0.2)
    release = asyncio.Event()
    for _ in range(3):
        async with db_context():
            await run(connection, "SELECT 1")
        await asyncio.sleep(0.05)
    slow = asyncio.create_task(_hold_for_too_long(connection, release))
    await until(lambda: bool(recorder.suspected), "the slow one is suspected")
    assert len(recorder.checkouts) == 3
    release.set()
    await slow
    assert len(recorder.suspected) == len(recorder.returned) == 1


async def test_a_holder_that_has_ended_is_told_as_such(
    database: Database, observe: Observe, recorder: Recorder
) -> None:
    connection = connect_to(database.url)
    observe(connection, leak_threshold=0.05)
    maker = await connection.session_maker()
    session = maker()

    async def take() -> None:
        await session.execute(text("SELECT 1"))

    await asyncio.create_task(take())
    await until(lambda: bool(recorder.suspected), "a leak is suspected")
    assert "has ended without giving it back" in recorder.suspected[0].holder
    await session.close()


async def test_no_timer_runs_while_nothing_is_held(database: Database, observe: Observe, recorder: Recorder) -> None:
    connection = connect_to(database.url)
    observe(connection, leak_threshold=0.05)
    async with db_context():
        await run(connection, "SELECT 1")
    pool: Any = recorder.pools[0]
    looking: set[object] = pool._leaks._timer.loops
    assert len(looking) == 1
    await until(lambda: not looking, "the timer rests")


@pytest.mark.parametrize("threshold", [0, -1.0])
def test_a_threshold_is_positive(threshold: float) -> None:
    with pytest.raises(ValueError, match="leak_threshold is in seconds and must be positive"):
        Lifecycle(observers=(), leak_threshold=threshold)


async def test_leaks_are_looked_for_without_any_observer(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    connection = connect_to(database.url)
    lifecycle = Lifecycle([connection], observers=(), leak_threshold=0.05)
    async with db_context():
        await run(connection, "SELECT 1")
        await until(lambda: bool(_messages(caplog)), "it is said in the log")
    await lifecycle.shut_down()


async def test_the_time_out_of_an_exhausted_pool_names_those_who_hold_it(
    database: Database, recorder: Recorder
) -> None:
    connection = DBConnect.from_url(database.url, name="main", pool_size=2, max_overflow=0, pool_timeout=0.3)
    lifecycle = Lifecycle([connection], observers=[recorder], route_of=lambda request: f"POST {request}")
    release = asyncio.Event()
    connected = 0

    async def hold(route: str, statement: str) -> None:
        nonlocal connected
        context, token = open_context(lifecycle)
        context.owner = route
        session = await db_session(connection)
        await session.execute(text("SELECT 1"))
        connected += 1
        await session.execute(text(statement))
        await release.wait()
        await session.close()
        context.end()
        leave_context(token)

    idle = asyncio.create_task(hold("/idle", "SELECT 1"))
    await until(lambda: connected == 1, "the first holds")
    busy = asyncio.create_task(hold("/busy", "SELECT pg_sleep(1)"))
    await until(lambda: connected == 2, "the second holds")
    with pytest.raises(PoolTimeoutError) as caught:
        async with new_non_ctx_session(connection) as session:
            await session.execute(text("SELECT 1"))
    (note,) = caught.value.__notes__
    assert note.startswith("pool 'main' is exhausted: waited 0.3")
    assert "pool size 2, overflow 0, in use 2, pending 0" in note
    assert "POST /idle: 1 for up to 0." in note
    assert note.index("POST /idle") < note.index("POST /busy")
    idle_shares = [int(part.rpartition(" ")[2]) for part in note.split("% of it idle")[:2]]
    assert idle_shares[0] > 80
    assert idle_shares[1] < 50
    assert "commit_db_session(connection)" in note
    release.set()
    await asyncio.gather(idle, busy)
    await lifecycle.shut_down()
