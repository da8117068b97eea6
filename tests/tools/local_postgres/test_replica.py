"""A replica follows its primary, and takes its place."""

import asyncio
from collections.abc import Generator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.support.waiting import until_async
from tests.tools.local_postgres.observing import observe, wait_until
from tools.local_postgres import SYNCHRONOUS_REPLICATION, PostgresReplica, PostgresServer


async def _scalar(server: PostgresServer, statement: str) -> object:
    engine = create_async_engine(server.url(), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        result = await connection.execute(text(statement))
        value: object = result.scalar() if result.returns_rows else None
    await engine.dispose()
    return value


@pytest.fixture
def primary() -> Generator[PostgresServer]:
    with PostgresServer({"max_connections": "30"}) as server:
        yield server


async def test_a_replica_follows_its_primary_and_refuses_writes(primary: PostgresServer) -> None:
    """Rows from before and after its start are there; the setting that has to be the primary's is."""
    await _scalar(primary, "CREATE TABLE numbers AS SELECT 1 AS number")
    with PostgresReplica(primary) as replica:
        await _scalar(primary, "INSERT INTO numbers VALUES (2)")

        async def has_both() -> bool:
            return await _scalar(replica, "SELECT sum(number) FROM numbers") == 3

        await until_async(has_both, "the row arrives")
        assert await _scalar(replica, "SHOW max_connections") == "30"
        assert await _scalar(primary, "SELECT sync_state FROM pg_stat_replication") == "async"
        with pytest.raises(DBAPIError, match="read-only transaction"):
            await _scalar(replica, "INSERT INTO numbers VALUES (3)")
        observed = await observe(replica.url())
    assert observed.is_gone()
    assert not observed.directory.exists()


async def test_a_killed_primary_is_replaced_by_its_replica() -> None:
    """A crash tells nobody; what a synchronous replica has acknowledged is there, and it takes writes."""
    with PostgresServer(SYNCHRONOUS_REPLICATION) as primary, PostgresReplica(primary) as replica:
        await _scalar(primary, "CREATE TABLE numbers AS SELECT 1 AS number")
        assert await _scalar(primary, "SELECT sync_state FROM pg_stat_replication") == "sync"
        observed = await observe(primary.url())
        primary.kill()
        wait_until(observed.is_gone)
        assert observed.directory.exists()
        assert primary.address == ("127.0.0.1", observed.port), "whoever was connected to it asks where it was"

        replica.promote()
        await _scalar(replica, "INSERT INTO numbers VALUES (2)")
        assert await _scalar(replica, "SELECT sum(number) FROM numbers") == 3
        with pytest.raises(RuntimeError, match=r"not promoted: .*not in standby mode"):
            replica.promote()
    assert not observed.directory.exists()


async def test_synchronous_commits_wait_for_a_replica() -> None:
    """Without one they wait for ever."""
    with PostgresServer(SYNCHRONOUS_REPLICATION) as primary:
        write = asyncio.create_task(_scalar(primary, "CREATE TABLE numbers (number int)"))

        async def waits() -> bool:
            query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            return await _scalar(primary, query) == 1

        await until_async(waits, "the commit waits for a replica")
        with PostgresReplica(primary):
            await write


def test_a_server_that_does_not_run_is_neither_killed_nor_promoted() -> None:
    """Each says so."""
    server = PostgresServer()
    with pytest.raises(RuntimeError, match="not running"):
        server.kill()
    with pytest.raises(RuntimeError, match="not running"):
        PostgresReplica(server).promote()
    with pytest.raises(RuntimeError, match="not running"):
        PostgresReplica(server).start()
