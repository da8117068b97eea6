"""A place of the pool that becomes free goes to the task that has waited longest."""

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import event, make_url
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, NullPool, impl
from sqlalchemy.util import await_only, greenlet_spawn
from sqlalchemy.util.queue import AsyncAdaptedQueue

from context_async_sqlalchemy import DBConnect, _pool_queue
from context_async_sqlalchemy._pool_queue import HandOnPool, hand_places_on
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.core.observing.engines import SELECT, engine_of, select_on
from tests.support.database import Database
from tests.support.recorder import Recorder
from tests.support.waiting import turns, until

MakeEngine = Callable[..., Awaitable[AsyncEngine]]


class Connects:
    """Holds the connects of an engine back, and refuses as many of them as it is told to."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.begun = 0
        self.running = 0
        self.most = 0
        self.to_refuse = 0
        self._gate = asyncio.Event()
        self._gate.set()
        event.listen(engine.sync_engine, "do_connect", self._connect)

    def hold(self) -> None:
        """Let no connect begin."""
        self._gate.clear()

    def let_go(self) -> None:
        """Let all of them begin."""
        self._gate.set()

    def _connect(self, *_arguments: Any) -> None:
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await_only(self._gate.wait())
            await_only(asyncio.sleep(0.001))
            if self.to_refuse:
                self.to_refuse -= 1
                raise ConnectionRefusedError("the server is down")
        finally:
            self.running -= 1


@pytest.fixture(params=["psycopg, from_url", "asyncpg, from_engine, observed"])
async def make_engine(request: pytest.FixtureRequest, database: Database) -> AsyncGenerator[MakeEngine]:
    """Give the test what makes an engine of a DBConnect, whose dialect is initialized and whose pool is empty."""
    driver, way, *is_observed = request.param.split(", ")
    url = make_url(database.url).set(drivername=f"postgresql+{driver}")
    made: list[DBConnect] = []

    async def make(**options: Any) -> AsyncEngine:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 20, **options}
        if way == "from_url":
            connection = DBConnect.from_url(url, **options)
        else:
            connection = DBConnect.from_engine(create_async_engine(url, **options))
        made.append(connection)
        if is_observed:
            Lifecycle([connection], observers=[Recorder()])
        engine = await engine_of(connection)
        await select_on(engine)
        await engine.dispose()
        return engine

    yield make
    for connection in made:
        await connection.close()


def _pool(engine: AsyncEngine) -> HandOnPool:
    pool = engine.sync_engine.pool
    assert isinstance(pool, HandOnPool)
    return pool


def _waiting(engine: AsyncEngine) -> int:
    return _pool(engine).queue.waiting()


async def _line_up(engine: AsyncEngine, count: int) -> list[asyncio.Task[None]]:
    """Let tasks wait for a connection."""
    before = _waiting(engine)
    tasks = [asyncio.create_task(select_on(engine)) for _ in range(count)]
    await until(lambda: _waiting(engine) == before + count, f"{count} tasks wait")
    return tasks


async def _require_all_places(engine: AsyncEngine, count: int) -> None:
    """Check that no place is lost, and that the pool has no more of them."""
    held = [await engine.connect() for _ in range(count)]
    late = asyncio.create_task(select_on(engine))
    await until(lambda: _waiting(engine) == 1, "one more has to wait")
    for each in held:
        await each.execute(SELECT)
        await each.close()
    await late
    assert _pool(engine).checkedout() == 0


async def test_a_cancelled_connect_hands_its_place_on(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    connects = Connects(engine)
    connects.hold()
    first = asyncio.create_task(select_on(engine))
    await until(lambda: connects.running == 1, "the first task connects")
    second, third = await _line_up(engine, 2)
    first.cancel()
    await until(lambda: connects.begun == 2, "the second task connects")
    connects.let_go()
    await asyncio.gather(second, third)
    # The third task got the connection of the second one.
    assert connects.begun == 2
    await _require_all_places(engine, 1)


async def test_while_connects_fail_the_tasks_get_the_error_of_the_driver_one_after_another(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine(pool_size=1, max_overflow=1)
    connects = Connects(engine)
    connects.hold()
    connects.to_refuse = 8
    first = [asyncio.create_task(select_on(engine)) for _ in range(2)]
    await until(lambda: connects.running == 2, "two tasks connect")
    waiting = await _line_up(engine, 6)
    connects.let_go()
    errors = await asyncio.gather(*first, *waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [ConnectionRefusedError] * 8
    assert (connects.begun, connects.most) == (8, 2)
    await _require_all_places(engine, 2)


async def test_a_place_is_handed_on_until_a_connect_succeeds(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    connects = Connects(engine)
    connects.hold()
    connects.to_refuse = 3
    first = asyncio.create_task(select_on(engine))
    await until(lambda: connects.running == 1, "the first task connects")
    waiting = await _line_up(engine, 4)
    connects.let_go()
    outcomes = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionRefusedError] * 3 + [type(None)] * 2
    await _require_all_places(engine, 1)


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
    await until(lambda: _waiting(engine) == 2, "two tasks wait")
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
        (waiting,) = await _line_up(engine, 1)
        gate.set()
        await asyncio.gather(closing, waiting)
    await _require_all_places(engine, 2)


async def test_a_task_that_is_cancelled_in_the_turn_of_its_record_returns_it(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine()
    holder = await engine.connect()
    cancelled, second = await _line_up(engine, 2)
    pool = _pool(engine)
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
    await _require_all_places(engine, 1)


async def test_no_task_overtakes_a_task_that_waits(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    order: list[str] = []

    async def use(name: str) -> None:
        async with engine.connect() as connection:
            order.append(name)
            await connection.execute(SELECT)

    holder = await engine.connect()
    waiting = [asyncio.create_task(use(name)) for name in ("first", "second")]
    await until(lambda: _waiting(engine) == 2, "two tasks wait")

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
    (waiting,) = await _line_up(engine, 1)
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
    await _require_all_places(engine, 1)


async def test_a_checkout_cancelled_while_it_closes_a_dead_connection_hands_its_place_on(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine(pool_pre_ping=True)
    await select_on(engine)
    is_closing = asyncio.Event()
    terminate = engine.dialect.do_terminate

    def is_dead(_connection: Any) -> bool:
        return False

    def terminate_slowly(connection: Any) -> None:
        terminate(connection)
        is_closing.set()
        await_only(asyncio.sleep(10))

    monkeypatch.setattr(engine.dialect, "do_ping", is_dead)
    monkeypatch.setattr(engine.dialect, "do_terminate", terminate_slowly)
    taking = asyncio.create_task(select_on(engine))
    await is_closing.wait()
    monkeypatch.undo()
    (waiting,) = await _line_up(engine, 1)
    taking.cancel()
    # The error has the traceback, whose frames have the connection.
    with pytest.raises(asyncio.CancelledError) as _kept:
        await taking
    await waiting
    await _require_all_places(engine, 1)


async def test_a_reconnect_that_fails_hands_its_place_on(make_engine: MakeEngine) -> None:
    engine = await make_engine(pool_recycle=0)
    await select_on(engine)
    connects = Connects(engine)
    connects.hold()
    connects.to_refuse = 3
    recycling = asyncio.create_task(select_on(engine))
    await until(lambda: connects.running == 1, "the idle connection is replaced")
    waiting = await _line_up(engine, 2)
    connects.let_go()
    outcomes = await asyncio.gather(recycling, *waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionRefusedError] * 3
    await _require_all_places(engine, 1)


async def test_tasks_that_wait_while_the_engine_is_disposed_of_get_the_connection_that_is_returned(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine()
    holder = await engine.connect()
    waiting = await _line_up(engine, 2)
    old = _pool(engine)
    await engine.dispose()
    assert old.checkedout() == 1
    await holder.close()
    await asyncio.gather(*waiting)
    assert old.checkedout() == 0
    await greenlet_spawn(old.dispose)
    await _require_all_places(engine, 1)


async def test_tasks_that_wait_while_the_engine_is_disposed_of_get_the_place_of_a_connect_that_fails(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine()
    connects = Connects(engine)
    connects.hold()
    connects.to_refuse = 3
    failing = asyncio.create_task(select_on(engine))
    await until(lambda: connects.running == 1, "a task connects")
    waiting = await _line_up(engine, 2)
    old = _pool(engine)
    await engine.dispose()
    connects.let_go()
    outcomes = await asyncio.gather(failing, *waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionRefusedError] * 3
    assert old.checkedout() == 0
    await _require_all_places(engine, 1)


async def test_tasks_that_wait_while_the_host_is_switched_are_served(database: Database) -> None:
    url = make_url(database.url)
    connection = DBConnect.from_url(url, pool_size=1, max_overflow=0, pool_timeout=20)
    await connection.session_maker()
    old = connection.engine
    assert old is not None
    holder = await old.connect()
    waiting = await _line_up(old, 2)
    switching = asyncio.create_task(connection.change_host(f"localhost:{url.port}"))
    await turns()
    await holder.close()
    await asyncio.gather(switching, *waiting)
    assert connection.engine is not old
    await connection.close()


async def test_the_place_of_an_idle_connection_that_is_disposed_of_goes_to_a_task_that_came_meanwhile(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine()
    await select_on(engine)
    pool = _pool(engine)
    gate, is_closing = asyncio.Event(), asyncio.Event()
    close = engine.dialect.do_close

    def close_slowly(connection: Any) -> None:
        is_closing.set()
        await_only(gate.wait())
        close(connection)

    monkeypatch.setattr(engine.dialect, "do_close", close_slowly)
    disposing = asyncio.create_task(greenlet_spawn(pool.dispose))
    await is_closing.wait()
    (waiting,) = await _line_up(engine, 1)
    gate.set()
    await asyncio.gather(disposing, waiting)
    await _require_all_places(engine, 1)


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
    assert _pool(engine).checkedin() == 2
    async with engine.connect() as again:
        assert await pid(again) == pids[is_last_first]
    await engine.dispose()


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
    assert (_pool(engine).checkedin(), _pool(engine).checkedout()) == (1, 0)


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
        assert _waiting(engine) == count
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
