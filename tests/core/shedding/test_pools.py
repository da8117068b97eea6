"""Waits for a connection that end, on every kind of engine that a DBConnect has."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool

from context_async_sqlalchemy import DBConnect, PoolOverloadedError, db_context, db_session
from context_async_sqlalchemy._pool_queue import HandOnPool, PoolQueue
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.conformance.statements import run
from tests.core.observing.engines import SELECT, engine_of, select_on
from tests.support.connections import in_use
from tests.support.database import Database
from tests.support.recorder import Recorder
from tests.support.waiting import turns, until

_WAIT = 0.05
_SIZE = 2


@pytest.fixture(params=["asyncpg", "psycopg"])
def url(request: pytest.FixtureRequest, database: Database) -> str:
    """Run the test on each driver."""
    return make_url(database.url).set(drivername=f"postgresql+{request.param}").render_as_string(hide_password=False)


@asynccontextmanager
async def _connected(url: str, **options: Any) -> AsyncGenerator[DBConnect]:
    connection = DBConnect.from_url(url, name="main", pool_size=1, max_overflow=_SIZE - 1, **options)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _exhausted(connection: DBConnect) -> AsyncGenerator[None]:
    engine = await engine_of(connection)
    async with engine.connect() as first, engine.connect() as second:
        await asyncio.gather(first.execute(SELECT), second.execute(SELECT))
        yield


@pytest.fixture
async def limited(url: str) -> AsyncGenerator[DBConnect]:
    async with _connected(url, max_wait=_WAIT) as connection:
        yield connection


async def test_a_wait_ends_at_its_limit_and_the_error_says_all(limited: DBConnect) -> None:
    async with _exhausted(limited), db_context():
        session = await db_session(limited)
        with pytest.raises(PoolOverloadedError) as raised:
            await session.execute(SELECT)
    error = raised.value
    assert (error.pool, error.limit, error.size, error.in_use, error.waiting) == ("main", "max_wait=0.05", 2, 2, 0)
    assert _WAIT <= error.waited < 20
    assert error.retry_after == 1
    assert isinstance(error, PoolTimeoutError)
    assert "'main' is overloaded" in str(error)
    assert error.__cause__ is None


async def test_the_session_stays_usable_and_nothing_is_lost(limited: DBConnect, database: Database) -> None:
    async with db_context():
        session = await db_session(limited)
        async with _exhausted(limited):
            with pytest.raises(PoolOverloadedError):
                await session.execute(SELECT)
        await run(limited, "INSERT INTO notes (body) VALUES ('kept')")
    assert await database.notes() == ["kept"]
    assert in_use(limited) == 0


async def test_a_wait_within_the_limit_is_served(url: str) -> None:
    async with _connected(url, max_wait=5) as connection:
        async with _exhausted(connection):
            waiting = asyncio.create_task(select_on(await engine_of(connection)))
            await turns()
            assert not waiting.done()
        await waiting


async def test_one_more_than_max_waiting_is_refused_at_once(url: str) -> None:
    async with _connected(url, max_waiting=1) as connection:
        engine = await engine_of(connection)
        async with _exhausted(connection):
            waiting = asyncio.create_task(select_on(engine))
            await turns()
            with pytest.raises(PoolOverloadedError, match="max_waiting=1") as raised:
                await select_on(engine)
            assert (raised.value.waited, raised.value.waiting) == (0.0, 1)
            assert raised.value.retry_after == 1
        await waiting


async def test_the_pools_own_limit_stays_if_it_is_shorter(url: str) -> None:
    async with _connected(url, max_wait=5, pool_timeout=_WAIT) as connection, _exhausted(connection):
        with pytest.raises(PoolTimeoutError) as raised:
            await select_on(await engine_of(connection))
        assert not isinstance(raised.value, PoolOverloadedError)


async def test_an_adaptive_pool_sheds_while_no_connection_comes_back(url: str) -> None:
    async with _connected(url, max_wait="adaptive", pool_timeout=20) as connection, _exhausted(connection):
        with pytest.raises(PoolOverloadedError, match="does not drain") as first:
            await select_on(await engine_of(connection))
        assert 0.9 < first.value.waited < 20
        with pytest.raises(PoolOverloadedError) as second:
            await select_on(await engine_of(connection))
        assert 0.09 < second.value.waited < first.value.waited


async def test_a_cancelled_wait_is_a_cancellation(limited: DBConnect) -> None:
    async with _exhausted(limited):
        waiting = asyncio.create_task(select_on(await engine_of(limited)))
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(PoolOverloadedError) as raised:
            await select_on(await engine_of(limited))
        assert raised.value.waiting == 0


async def test_an_application_s_own_engine_sheds_and_a_null_pool_never_waits(url: str) -> None:
    engine = create_async_engine(url, pool_size=1, max_overflow=1)
    connection = DBConnect(lambda _: engine, async_sessionmaker, "host", name="main", max_wait=_WAIT)
    async with _exhausted(connection):
        with pytest.raises(PoolOverloadedError):
            await select_on(engine)
    await connection.close()
    without_pool = create_async_engine(url, poolclass=NullPool)
    connection = DBConnect(lambda _: without_pool, async_sessionmaker, "host", name="main", max_wait=_WAIT)
    async with _exhausted(connection):
        await select_on(without_pool)
    await connection.close()


async def test_the_limit_outlives_dispose_and_a_switch_of_hosts(limited: DBConnect) -> None:
    engine = await engine_of(limited)
    await select_on(engine)
    await engine.dispose()
    async with _exhausted(limited):
        with pytest.raises(PoolOverloadedError):
            await select_on(engine)
    # Another name of the same server.
    await limited.change_host(f"localhost:{engine.url.port}")
    assert await engine_of(limited) is not engine
    async with _exhausted(limited):
        with pytest.raises(PoolOverloadedError):
            await select_on(await engine_of(limited))


async def test_observers_hear_of_shed_waits_and_the_error_names_the_holder(limited: DBConnect) -> None:
    recorder = Recorder(keeps_history=True)
    lifecycle = Lifecycle([limited], observers=[recorder])
    async with _exhausted(limited):
        with pytest.raises(PoolOverloadedError) as raised:
            await select_on(await engine_of(limited))
    (failure,) = recorder.failures
    assert failure.failure == "shed"
    (note,) = raised.value.__notes__
    assert "Held most by: none: 2 for up to" in note
    await lifecycle.shut_down()


async def test_many_shed_waits_leave_the_pool_whole(url: str) -> None:
    async with _connected(url, max_wait=_WAIT) as connection:
        engine = await engine_of(connection)

        async def work() -> bool:
            try:
                async with engine.connect() as held:
                    await held.execute(SELECT)
                    await asyncio.sleep(_WAIT / 3)
            except PoolOverloadedError:
                return False
            return True

        served = await asyncio.gather(*(work() for _ in range(200)))
        assert 0 < sum(served) < len(served)
        await until(lambda: in_use(connection) == 0, "all connections are back")
        # Every place of the pool is still there.
        assert all(await asyncio.gather(work(), work()))


async def test_without_limits_the_queue_is_left_as_it_is(url: str) -> None:
    async with _connected(url) as connection:
        pool = (await engine_of(connection)).sync_engine.pool
        assert isinstance(pool, HandOnPool)
        assert type(pool.queue) is PoolQueue


@pytest.mark.parametrize("options", [{"max_wait": 0}, {"max_waiting": -1}])
def test_invalid_limits_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="max_wait"):
        DBConnect.from_url("postgresql+asyncpg://localhost/none", **options)


async def test_a_second_connection_of_the_same_engine_without_limits_leaves_those_of_the_first(url: str) -> None:
    engine = create_async_engine(url, pool_size=1, max_overflow=_SIZE - 1)
    first = DBConnect.from_engine(engine, name="first", max_wait=_WAIT)
    second = DBConnect.from_engine(engine, name="second")
    second.ensure_engine()
    async with _exhausted(first), db_context():
        second.ensure_engine()
        session = await db_session(second)
        with pytest.raises(PoolOverloadedError, match="pool 'first' is overloaded"):
            await session.execute(SELECT)
    await engine.dispose()
