"""A look at a pool in detail: limits, connections that are out, and waits."""

import asyncio

import pytest
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, db_context
from context_async_sqlalchemy.adapter_kit import Lifecycle
from context_async_sqlalchemy.observer import LivePool, PoolLimits
from tests.conformance.statements import run
from tests.support.connections import connect_to
from tests.support.database import Database
from tests.support.recorder import Recorder
from tests.support.waiting import until


def _pool(recorder: Recorder) -> LivePool:
    (pool,) = recorder.pools
    assert isinstance(pool, LivePool)
    return pool


async def test_it_shows_who_holds_and_who_waits(database: Database) -> None:
    recorder = Recorder()
    connection = DBConnect.from_url(database.url, pool_size=1, max_overflow=0, pool_timeout=20, max_waiting=9)
    lifecycle = Lifecycle([connection], observers=[recorder])
    async with db_context():
        await run(connection, "SELECT 1")
        pool = _pool(recorder)
        look = pool.look()
        assert look.limits == PoolLimits(1, 0, 20, None, 9)
        (held,) = look.checkouts
        assert (held.transactions, held.statements, held.is_querying) == (1, 1, False)
        assert held.driver_connection.get_server_pid() > 0
        assert held.checkout.context is not None
        record = held.checkout.context
        assert [record.is_ending] == [False]
        assert look.waits == []

        async def wait() -> None:
            async with db_context():
                await run(connection, "SELECT 1")

        waiting = asyncio.create_task(wait())
        await until(lambda: bool(pool.look().waits), "it waits")
        (seen,) = pool.look().waits
        assert seen.task is waiting
        assert seen.context is not None
        assert pool.read().pending == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert pool.look().waits == []
    assert [record.is_ending] == [True]
    assert pool.look().checkouts == []
    await lifecycle.shut_down()


async def test_an_engine_beside_takes_no_connection_of_the_pool(database: Database) -> None:
    recorder = Recorder()
    connection = connect_to(database.url, pool_size=1)
    lifecycle = Lifecycle([connection], observers=[recorder])
    async with db_context():
        await run(connection, "SELECT 1")
        engine = _pool(recorder).engine_beside()
        async with engine.connect() as beside:
            assert (await beside.execute(text("SELECT 1"))).scalar() == 1
        await engine.dispose()
    assert recorder.statements == 1
    assert len(recorder.checkouts) == 1
    await lifecycle.shut_down()
