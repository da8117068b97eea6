"""The engine of a block of rolled_back: who has made it, who stops it, and on which databases a block works."""

import asyncio
import gc
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.pool import QueuePool, StaticPool

from context_async_sqlalchemy import (
    DBConnect,
    commit_db_session,
    db_context,
    new_non_ctx_session,
    run_in_new_ctx,
)
from context_async_sqlalchemy.test_utils import (
    rolled_back,
    set_test_context,
)
from tests.conformance.statements import run, write
from tests.support.connections import connect_to
from tests.support.database import Database


async def test_rolled_back_without_a_server_disposes_of_the_engine_it_made(database: Database) -> None:
    connection = connect_to(database.url)
    async with rolled_back(connection) as session, set_test_context(auto_close=True):
        await write(connection, "by the application")
        await commit_db_session(connection)
        assert await session.scalar(text("SELECT count(*) FROM notes")) == 1
    assert connection.engine is None
    await database.wait_for_backends("true", count=0)
    assert await database.notes() == []


async def test_rolled_back_survives_an_application_that_stops_inside_of_it(
    connection: DBConnect, database: Database
) -> None:
    await connection.session_maker()
    async with rolled_back(connection) as session:
        await connection.close()
        async with set_test_context(auto_close=True):
            await write(connection, "after the stop")
        assert await session.scalar(text("SELECT count(*) FROM notes")) == 1
    assert await database.notes() == []


@pytest.mark.parametrize("was_made_before", [True, False])
@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_an_application_that_stops_within_the_block_logs_nothing_at_the_end_of_the_loop(
    database_url: str, caplog: pytest.LogCaptureFixture, driver: str, was_made_before: bool, raises: bool
) -> None:
    async def test() -> None:
        connection = DBConnect.from_url(make_url(database_url).set(drivername=f"postgresql+{driver}"))
        if was_made_before:
            await connection.session_maker()
        async with rolled_back(connection) as session:
            await session.execute(text("SELECT 1"))
            await connection.close()
            if raises:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) if raises else nullcontext():
        asyncio.run(test())
    gc.collect()
    assert caplog.messages == []


async def test_a_block_gives_its_connection_back_to_a_pool_that_is_in_use(connection: DBConnect) -> None:
    await connection.session_maker()
    assert connection.engine is not None
    pool = connection.engine.sync_engine.pool
    assert isinstance(pool, QueuePool)
    async with rolled_back(connection) as session:
        await session.execute(text("SELECT 1"))
    assert pool.checkedin() == 1


async def test_a_block_leaves_no_connection_on_the_server_of_an_engine_that_was_disposed_of(
    connection: DBConnect, database: Database
) -> None:
    await connection.session_maker()
    async with rolled_back(connection) as session:
        await session.execute(text("SELECT 1"))
        await connection.close()
    await database.wait_for_backends("true", count=0)


def _begin_explicitly(connection: DBConnect) -> None:
    """Do as SQLAlchemy recommends for SAVEPOINTs on SQLite."""
    assert connection.engine is not None

    def do_not_begin(dbapi_connection: Any, _record: object) -> None:
        dbapi_connection.isolation_level = None

    def begin(sync_connection: Connection) -> None:
        sync_connection.exec_driver_sql("BEGIN")

    event.listen(connection.engine.sync_engine, "connect", do_not_begin)
    event.listen(connection.engine.sync_engine, "begin", begin)


SQLITE_OPTIONS: list[dict[str, Any]] = [{}, {"poolclass": StaticPool}, {"isolation_level": "SERIALIZABLE"}]
if sys.version_info >= (3, 12):
    SQLITE_OPTIONS.append({"connect_args": {"autocommit": False}})


@pytest.mark.parametrize(
    ("options", "begins_explicitly"), [*((options, False) for options in SQLITE_OPTIONS), ({}, True)], ids=str
)
async def test_a_block_on_sqlite_is_rolled_back(
    tmp_path: Path, options: dict[str, Any], begins_explicitly: bool
) -> None:
    connection = DBConnect.from_url(f"sqlite+aiosqlite:///{tmp_path}/test.db", **options)
    await connection.session_maker()
    if begins_explicitly:
        _begin_explicitly(connection)
    await run_in_new_ctx(run, connection, "CREATE TABLE notes (body text)")
    for _ in range(2):
        async with rolled_back(connection) as session:
            await run_in_new_ctx(write, connection, "by a request")
            async with rolled_back(connection) as inner:
                await run_in_new_ctx(write, connection, "by the inner block")
                assert await inner.scalar(text("SELECT count(*) FROM notes")) == 2
            await session.execute(text("INSERT INTO notes (body) VALUES ('by the test')"))
            rows = (await session.scalars(text("SELECT body FROM notes"))).all()
            assert rows == ["by a request", "by the test"]
        async with new_non_ctx_session(connection) as session:
            assert (await session.scalars(text("SELECT body FROM notes"))).all() == []
    await run_in_new_ctx(write, connection, "after the block")
    async with new_non_ctx_session(connection) as session:
        assert (await session.scalars(text("SELECT body FROM notes"))).all() == ["after the block"]
    await connection.close()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "aiosqlite"])
async def test_a_block_on_an_engine_in_autocommit_is_refused(database: Database, tmp_path: Path, driver: str) -> None:
    url = (
        make_url(f"sqlite+aiosqlite:///{tmp_path}/test.db")
        if driver == "aiosqlite"
        else make_url(database.url).set(drivername=f"postgresql+{driver}")
    )
    connection = DBConnect.from_url(url, name="main", isolation_level="AUTOCOMMIT")
    with pytest.raises(InvalidRequestError, match=r"'main' .*AUTOCOMMIT.*Make the engine of the tests without it"):
        async with rolled_back(connection):
            pytest.fail("there is nothing to roll back")
    assert connection.engine is None
    async with db_context():
        await run(connection, "SELECT 1")
    await connection.close()
