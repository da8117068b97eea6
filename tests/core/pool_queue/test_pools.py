"""Which pools get the queue, and how the work of the queue grows."""

import asyncio
import logging
import sys
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, impl
from sqlalchemy.util.queue import AsyncAdaptedQueue

from context_async_sqlalchemy import _pool_queue
from context_async_sqlalchemy._pool_queue import hand_places_on
from tests.core.observing.engines import select_on
from tests.core.pool_queue.places import MakeEngine, pool_of, waiting_for
from tests.support.database import Database
from tests.support.waiting import turns


async def test_a_pool_looks_as_before(database: Database) -> None:
    class Pool(AsyncAdaptedQueuePool):
        pass

    engine = create_async_engine(database.url, poolclass=Pool)
    hand_places_on(engine.sync_engine)
    pool = engine.sync_engine.pool
    assert isinstance(pool, Pool)
    assert (type(pool).__name__, type(pool).__module__) == (Pool.__name__, Pool.__module__)
    assert pool.status() == Pool(lambda: None).status()  # type: ignore[arg-type]


async def test_a_pool_with_no_queue_or_with_a_queue_of_the_application_stays_as_it_is(database: Database) -> None:
    class Queue(AsyncAdaptedQueue[Any]):
        pass

    class Pool(AsyncAdaptedQueuePool):
        _queue_class = Queue

    for pool_class in (NullPool, Pool):
        engine = create_async_engine(database.url, poolclass=pool_class)
        hand_places_on(engine.sync_engine)
        assert type(engine.sync_engine.pool) is pool_class


async def test_a_pool_that_tasks_wait_for_stays_as_it_is(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    engine = create_async_engine(database.url, pool_size=1, max_overflow=0)
    holder = await engine.connect()
    waiting = asyncio.create_task(select_on(engine))
    await turns()
    with caplog.at_level(logging.WARNING, "context_async_sqlalchemy"):
        hand_places_on(engine.sync_engine)
    assert "tasks wait for a connection" in caplog.text
    await holder.close()
    await waiting
    await engine.dispose()


async def test_a_pool_without_a_limit_never_lets_a_task_wait(make_engine: MakeEngine) -> None:
    engine = await make_engine(pool_size=1, max_overflow=-1)
    held = [await engine.connect() for _ in range(4)]
    for each in held:
        await each.close()
    assert (pool_of(engine).checkedin(), pool_of(engine).checkedout()) == (1, 0)


@pytest.mark.parametrize("way", ["served", "cancelled", "cancelled from the last", "timed out"])
async def test_the_work_for_each_of_many_waiting_tasks_does_not_grow_with_their_number(way: str) -> None:
    few, many = [await _work(count, way) for count in (100, 1000)]
    assert many < 1.2 * few


async def _work(count: int, way: str) -> float:
    """Let tasks wait for a pool of five; return how many lines are run for each of them in the queue and the pool."""
    engine = create_async_engine(
        "sqlite+aiosqlite://",
        poolclass=AsyncAdaptedQueuePool,
        pool_size=5,
        max_overflow=0,
        pool_timeout=0.0 if way == "timed out" else 30,
    )
    hand_places_on(engine.sync_engine)
    held = [await engine.connect() for _ in range(5)]
    lines = 0

    def count_lines(frame: Any, event: str, _argument: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in {_pool_queue.__file__, impl.__file__}:
            return None
        lines += event == "line"
        return count_lines

    async def use() -> None:
        async with engine.connect():
            pass

    before = sys.gettrace()
    sys.settrace(count_lines)
    try:
        # They begin to wait in the first turn of the loop.
        tasks = [asyncio.create_task(use()) for _ in range(count)]
        await turns(1)
        assert waiting_for(engine) == count
        if way.startswith("cancelled"):
            for task in tasks if way == "cancelled" else reversed(tasks):
                task.cancel()
        elif way == "served":
            for each in held:
                await each.close()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        sys.settrace(before)
    for each in held:
        await each.close()
    await engine.dispose()
    return lines / count
