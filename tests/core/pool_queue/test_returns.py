"""A connection that is returned, and the place of one that is closed, go to the next task in the line."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import await_only

from context_async_sqlalchemy._pool_queue import hand_places_on
from tests.core.observing.engines import SELECT, select_on
from tests.core.pool_queue.places import MakeEngine, line_up, pool_of, require_all_places, waiting_for
from tests.support.database import Database
from tests.support.waiting import until


async def test_two_connections_that_are_returned_at_once_serve_two_tasks(make_engine: MakeEngine) -> None:
    engine = await make_engine(pool_size=1, max_overflow=1)
    one, other = await engine.connect(), await engine.connect()
    held: list[AsyncConnection] = []
    gate = asyncio.Event()

    async def hold() -> None:
        async with engine.connect() as connection:
            held.append(connection)
            await gate.wait()

    tasks = [asyncio.create_task(hold()) for _ in range(2)]
    await until(lambda: waiting_for(engine) == 2, "two tasks wait")
    # SQLAlchemy's own queue would be full with the first of them, and the place of the second one would wake no task.
    await asyncio.gather(one.close(), other.close())
    await until(lambda: len(held) == 2, "both tasks have a connection")
    gate.set()
    await asyncio.gather(*tasks)


async def test_the_place_of_a_surplus_connection_goes_to_a_task_that_came_while_it_was_closed(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine(pool_size=1, max_overflow=1)
    one, surplus = await engine.connect(), await engine.connect()
    await one.close()
    gate, is_closing = asyncio.Event(), asyncio.Event()
    close = engine.dialect.do_close

    def close_slowly(connection: Any) -> None:
        is_closing.set()
        await_only(gate.wait())
        close(connection)

    monkeypatch.setattr(engine.dialect, "do_close", close_slowly)
    closing = asyncio.create_task(surplus.close())
    await is_closing.wait()
    async with engine.connect():
        (waiting,) = await line_up(engine, 1)
        gate.set()
        await asyncio.gather(closing, waiting)
    await require_all_places(engine, 2)


async def test_a_task_that_is_cancelled_in_the_turn_of_its_record_returns_it(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine()
    holder = await engine.connect()
    cancelled, second = await line_up(engine, 2)
    pool = pool_of(engine)
    hand_on = pool.queue.hand_on

    def hand_on_and_cancel(record: ConnectionPoolEntry) -> bool:
        is_handed_on = hand_on(record)
        cancelled.cancel()
        return is_handed_on

    monkeypatch.setattr(pool.queue, "hand_on", hand_on_and_cancel)
    await holder.close()
    outcomes = await asyncio.gather(cancelled, second, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, type(None)]
    assert (pool.checkedin(), pool.checkedout()) == (1, 0)


async def test_a_wait_that_takes_too_long_ends_as_in_sqlalchemy(make_engine: MakeEngine) -> None:
    engine = await make_engine(pool_timeout=0.05)
    async with engine.connect():
        with pytest.raises(PoolTimeoutError, match="QueuePool limit of size 1 overflow 0 reached"):
            await select_on(engine)
    await require_all_places(engine, 1)


async def test_no_task_overtakes_a_task_that_waits(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    order: list[str] = []

    async def use(name: str) -> None:
        async with engine.connect() as connection:
            order.append(name)
            await connection.execute(SELECT)

    holder = await engine.connect()
    waiting = [asyncio.create_task(use(name)) for name in ("first", "second")]
    await until(lambda: waiting_for(engine) == 2, "two tasks wait")

    async def return_and_ask_again() -> None:
        await holder.close()
        await use("holder")

    await asyncio.gather(return_and_ask_again(), *waiting)
    assert order == ["first", "second", "holder"]


@pytest.mark.parametrize("way", ["return", "invalidate", "detach", "kill"])
async def test_whatever_becomes_of_a_connection_the_next_task_gets_its_place(
    make_engine: MakeEngine, database: Database, way: str
) -> None:
    engine = await make_engine(pool_pre_ping=True)
    holder = await engine.connect()
    (waiting,) = await line_up(engine, 1)
    if way == "invalidate":
        await holder.invalidate()
    elif way == "detach":
        raw = await holder.get_raw_connection()
        driver_connection: Any = raw.driver_connection
        raw.detach()
        await driver_connection.close()
    elif way == "kill":
        pid = (await holder.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
        await holder.rollback()
        await database.terminate(pid)
    await holder.close()
    await waiting
    await require_all_places(engine, 1)


@pytest.mark.parametrize("is_last_first", [False, True], ids=["first in, first out", "last in, first out"])
async def test_idle_connections_are_kept_and_taken_in_the_order_of_the_pool(
    database: Database, is_last_first: bool
) -> None:
    engine = create_async_engine(database.url, pool_size=2, max_overflow=0, pool_use_lifo=is_last_first)

    async def pid(connection: AsyncConnection) -> int:
        return int((await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one())

    one, other = await engine.connect(), await engine.connect()
    pids = [await pid(one), await pid(other)]
    await one.close()
    await other.close()
    hand_places_on(engine.sync_engine)
    hand_places_on(engine.sync_engine)
    assert pool_of(engine).checkedin() == 2
    async with engine.connect() as again:
        assert await pid(again) == pids[is_last_first]
    await engine.dispose()
