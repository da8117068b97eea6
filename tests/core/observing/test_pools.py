"""Pools of every class; what a pool reads while connections come and go."""

import asyncio
import gc
import logging
import time
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AssertionPool, NullPool, Pool, StaticPool
from sqlalchemy.util import greenlet_spawn

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy._observing import peaks
from context_async_sqlalchemy.adapter_kit import Lifecycle
from context_async_sqlalchemy.observer import PoolPeaks, PoolReading
from tests.core.observing.conftest import Observe
from tests.core.observing.engines import SELECT, around, engine_of, select_on
from tests.support.connections import connect_to
from tests.support.database import Database
from tests.support.proxy import Proxy
from tests.support.recorder import Recorder
from tests.support.waiting import until


async def test_a_pool_says_what_it_is(observed: DBConnect, recorder: Recorder, database: Database) -> None:
    await observed.session_maker()
    (pool,) = recorder.pools
    url = make_url(database.url)
    assert (pool.name, pool.system) == ("main", "postgresql")
    assert (pool.server_address, pool.server_port, pool.database) == (url.host, url.port, url.database)


async def test_a_pool_is_read_as_it_is(observed: DBConnect, recorder: Recorder) -> None:
    engine = await engine_of(observed)
    (pool,) = recorder.pools
    assert pool.read() == PoolReading(used=0, idle=0, pending=0, maximum=2, idle_maximum=2)
    async with engine.connect() as one, engine.connect() as two:
        assert pool.read()[:3] == (2, 0, 0)
        waiting = [asyncio.create_task(select_on(engine)) for _ in range(3)]
        await until(lambda: pool.read().pending == 3, "three wait")
        waiting[0].cancel()
        await until(lambda: pool.read().pending == 2, "one has given up")
        await one.invalidate()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert pool.read()[:3] == (1, 1, 0)
        await two.execute(SELECT)
    assert pool.read()[:3] == (0, 2, 0)
    async with engine.connect() as one, engine.connect():
        await one.invalidate()
        # Its place is back in the pool, without a connection.
        assert pool.read()[:3] == (1, 0, 0)
    await engine.dispose()
    assert pool.read()[:3] == (0, 0, 0)


async def test_a_peak_between_two_readings_is_read(observed: DBConnect, recorder: Recorder) -> None:
    engine = await engine_of(observed)
    (pool,) = recorder.pools
    async with engine.connect(), engine.connect() as two:
        waiting = [asyncio.create_task(select_on(engine)) for _ in range(3)]
        await until(lambda: pool.read().pending == 3, "three wait")
        await two.close()
        await asyncio.gather(*waiting)
    assert pool.read()[:3] == (0, 2, 0)
    assert pool.peaks() == PoolPeaks(used=2, pending=3)


async def test_a_peak_is_read_by_every_scraper_and_then_forgotten(
    observed: DBConnect, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await engine_of(observed)
    (pool,) = recorder.pools
    minutes = 1
    monkeypatch.setattr(peaks, "perf_counter_ns", lambda: time.perf_counter_ns() + minutes * 60_000_000_000)
    pool.peaks()
    async with engine.connect(), engine.connect():
        pass
    for _scraper in range(3):
        assert pool.peaks().used == 2
    minutes += 5
    assert pool.peaks().used == 2, "a scraper that comes every five minutes"
    assert pool.peaks().used == 2, "and another one right after it"
    minutes += 1
    assert pool.peaks().used == 2
    async with engine.connect():
        minutes += 1
        assert pool.peaks() == PoolPeaks(used=1, pending=0)


async def test_pools_without_a_limit(database: Database, recorder: Recorder, observe: Observe) -> None:
    connection = DBConnect.from_url(database.url, max_overflow=-1)
    observe(connection)
    await connection.session_maker()
    assert recorder.pools[0].read() == PoolReading(0, 0, 0, None, 5)


@pytest.mark.parametrize("poolclass", [NullPool, StaticPool, AssertionPool])
async def test_pools_of_other_classes(
    database: Database, recorder: Recorder, observe: Observe, poolclass: type[Pool]
) -> None:
    connection = DBConnect.from_url(database.url, poolclass=poolclass)
    observe(connection)
    engine = await engine_of(connection)
    for _ in range(2):
        async with engine.begin() as one:
            await one.execute(SELECT)
            assert recorder.pools[0].read().used == 1
    assert recorder.transactions == ["commit", "commit"]
    assert recorder.statements == 2
    assert recorder.pools[0].read().used == 0
    assert len(recorder.connect_times) == (2 if poolclass is NullPool else 1)


async def test_overlapping_checkouts_of_a_static_pool_end_together(
    recorder: Recorder, observe: Observe, tmp_path: Path
) -> None:
    # They share one connection, and SQLAlchemy gives it back once.
    connection = DBConnect.from_url(f"sqlite+aiosqlite:///{tmp_path}/x.db", poolclass=StaticPool)
    observe(connection)
    engine = await engine_of(connection)
    async with engine.connect() as one:
        await one.execute(SELECT)
        async with engine.connect() as two:
            await two.execute(SELECT)
            assert recorder.pools[0].read().used == 2
    assert len(recorder.checkouts) == 2
    assert recorder.statements == 2
    assert recorder.pools[0].read().used == 0


async def test_the_probe_outlives_a_disposal(observed: DBConnect, recorder: Recorder) -> None:
    engine = await engine_of(observed)
    old_pool = engine.sync_engine.pool
    async with engine.connect() as in_flight:
        await engine.dispose()
        await in_flight.execute(SELECT)
        await select_on(engine)
        assert recorder.pools[0].read().used == 1
    await greenlet_spawn(old_pool.dispose)
    assert len(recorder.checkouts) == 2
    assert recorder.pools[0].read().used == 0
    assert len(recorder.pools) == 1
    await observed.close()
    assert recorder.forgotten == recorder.pools
    await select_on(await engine_of(observed))
    assert len(recorder.checkouts) == 3
    assert len(recorder.pools) == 2


async def test_a_host_switch_changes_the_pool(observed: DBConnect, recorder: Recorder, database: Database) -> None:
    url = make_url(database.url)
    async with Proxy(str(url.host), url.port or 5432) as other_address:
        old = await engine_of(observed)
        async with old.connect() as in_flight:
            await observed.change_host(f"127.0.0.1:{other_address.port}")
            await select_on(await engine_of(observed))
            await in_flight.execute(SELECT)
            assert recorder.forgotten == []
            assert recorder.pools[0].read() == PoolReading(used=1, idle=0, pending=0, maximum=1, idle_maximum=0)
        assert recorder.forgotten == [recorder.pools[0]]
        async with old.connect() as late:
            await late.execute(SELECT)
        assert recorder.checkouts.pop().pool is recorder.pools[0], "a session in flight may begin again"
        assert [checkout.pool for checkout in recorder.checkouts] == [recorder.pools[1], recorder.pools[0]]
        assert recorder.checkouts[0].pool.server_port == other_address.port
        assert recorder.statements == 2
        assert recorder.forgotten == [recorder.pools[0]]
        await observed.close()


async def test_the_way_of_a_connection_is_told(observed: DBConnect, recorder: Recorder) -> None:
    engine = await engine_of(observed)
    async with engine.connect(), engine.connect() as two:
        queued = asyncio.create_task(select_on(engine))
        await until(lambda: recorder.pools[0].read().pending == 1, "it waits")
        await two.close()
        await queued
    await select_on(engine)
    assert [checkout.path for checkout in recorder.checkouts] == ["new", "queued", "new", "idle"]
    waited = recorder.checkouts[1]
    assert waited.wait_seconds > 0
    assert waited.asked_at < recorder.checkouts[0].released_at <= waited.taken_at


async def test_waits_that_fail(database: Database, recorder: Recorder, observe: Observe) -> None:
    connection = DBConnect.from_url(database.url, name="main", pool_size=1, max_overflow=0, pool_timeout=0.1)
    observe(connection)
    engine = await engine_of(connection)
    async with engine.connect():
        with pytest.raises(PoolTimeoutError):
            await select_on(engine)
        cancelled = asyncio.create_task(select_on(engine))
        await until(lambda: recorder.pools[0].read().pending == 1, "it waits")
        cancelled.cancel()
        with suppress(asyncio.CancelledError):
            await cancelled
    timeout, cancellation = recorder.failures
    assert timeout.failure == "timeout"
    assert timeout.wait_seconds >= 0.1
    assert cancellation.failure == "cancelled"
    assert recorder.pools[0].read()[:3] == (0, 1, 0)


async def test_a_server_that_is_not_there(observe: Observe, recorder: Recorder) -> None:
    connection = DBConnect.from_url("postgresql+asyncpg://nobody@127.0.0.1:1/nothing", name="main")
    observe(connection)
    engine = await engine_of(connection)
    with pytest.raises((DBAPIError, OSError)):
        await select_on(engine)
    (failure,) = recorder.failures
    assert failure.failure == "error"
    assert recorder.pools[0].read()[:3] == (0, 0, 0)


async def test_a_connection_that_died_in_the_pool_is_replaced(
    database: Database, recorder: Recorder, observe: Observe
) -> None:
    connection = connect_to(database.url, pool_pre_ping=True)
    observe(connection)
    engine = await engine_of(connection)
    await select_on(engine)
    await database.terminate_backends()
    await select_on(engine)
    assert [checkout.path for checkout in recorder.checkouts] == ["new", "new"]
    assert (recorder.invalidations, len(recorder.connect_times)) == (1, 2)
    assert recorder.statements == 2


async def test_a_detached_connection_has_left_the_pool(observed: DBConnect, recorder: Recorder) -> None:
    engine = await engine_of(observed)
    async with engine.connect() as connection:
        await connection.execute(SELECT)
        await connection.run_sync(lambda sync_connection: sync_connection.detach())
        assert len(recorder.checkouts) == 1
        await connection.execute(SELECT)
    assert len(recorder.checkouts) == 1
    assert recorder.statements == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:The garbage collector")
async def test_a_connection_that_nobody_closes_is_told_of_when_it_is_collected(
    observed: DBConnect, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await engine_of(observed)

    async def leak() -> None:
        connection = await engine.connect()
        await connection.execute(SELECT)

    with caplog.at_level(logging.CRITICAL, "sqlalchemy.pool"):
        await leak()
        gc.collect()
    assert recorder.transactions == ["lost"]
    assert recorder.pools[0].read().used == 0


async def test_the_applications_own_listeners_stay(database: Database) -> None:
    engine = create_async_engine(database.url)
    seen: list[str] = []
    event.listen(engine.sync_engine, "checkout", lambda *_: seen.append("before"))
    connection = around(engine)
    lifecycle = Lifecycle([connection], observers=[Recorder()])
    await connection.session_maker()
    event.listen(engine.sync_engine.pool, "checkin", lambda *_: seen.append("after"))
    await select_on(engine)
    await lifecycle.shut_down()
    await select_on(engine)
    assert seen == ["before", "after"] * 2
    await engine.dispose()
