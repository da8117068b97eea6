"""The published testing helpers; rolled_back is among the conformance cases."""

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url, select, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import QueuePool, StaticPool

from context_async_sqlalchemy import (
    ContextAlreadyInitiatedError,
    DBConnect,
    commit_db_session,
    db_context,
    db_session,
    is_context_initiated,
    new_non_ctx_session,
    run_in_new_ctx,
    set_rollback,
)
from context_async_sqlalchemy.adapter_kit import Lifecycle, finish, leave_context, open_context
from context_async_sqlalchemy.test_utils import (
    put_savepoint_session_in_ctx,
    rollback_session,
    rolled_back,
    set_test_context,
)
from tests.conformance.statements import run, write
from tests.support.connections import connect_to, in_use
from tests.support.database import Database
from tests.support.models import Note
from tests.support.waiting import turns


@pytest.fixture
async def test_session(connection: DBConnect) -> AsyncGenerator[AsyncSession]:
    """Open the test's session in a fixture, so in another task than the test's."""
    async with rollback_session(connection) as session:
        yield session


@pytest.fixture
async def _context(connection: DBConnect, test_session: AsyncSession) -> AsyncGenerator[None]:
    """Open a context in a fixture."""
    async with set_test_context(), put_savepoint_session_in_ctx(connection, test_session):
        yield


@pytest.mark.usefixtures("_context")
async def test_a_savepoint_session_shares_the_tests_transaction(
    connection: DBConnect, database: Database, test_session: AsyncSession
) -> None:
    await write(connection, "by the application")
    await commit_db_session(connection)
    assert (await test_session.scalars(text("SELECT body FROM notes"))).all() == ["by the application"]
    assert await database.notes() == []


@pytest.mark.parametrize(("auto_close", "kept"), [(True, ["written"]), (False, [])])
async def test_a_test_context_finishes_its_sessions_if_it_is_told_to(
    connection: DBConnect, database: Database, auto_close: bool, kept: list[str]
) -> None:
    async with set_test_context(auto_close=auto_close):
        session = await db_session(connection)
        await write(connection, "written")
    assert await database.notes() == kept
    assert in_use(connection) == (0 if auto_close else 1)
    assert not is_context_initiated()
    if not auto_close:
        await session.close()


async def test_an_exception_in_a_test_context_rolls_back(connection: DBConnect, database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with set_test_context(auto_close=True):
            await write(connection, "discarded")
            raise ZeroDivisionError
    assert await database.notes() == []


async def test_test_contexts_do_not_nest() -> None:
    async with set_test_context():
        with pytest.raises(ContextAlreadyInitiatedError):
            async with set_test_context():
                pass


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


async def test_a_session_that_was_only_asked_for_its_bind_takes_no_turn(connection: DBConnect) -> None:
    async with rolled_back(connection, turn_timeout=0.1) as session, new_non_ctx_session(connection) as asked:
        await asked.run_sync(lambda sync_session: sync_session.get_bind())
        await run_in_new_ctx(write, connection, "by a request")
        assert await session.scalar(text("SELECT count(*) FROM notes")) == 1


async def test_a_block_within_a_block_is_rolled_back_alone(connection: DBConnect, database: Database) -> None:
    async with rolled_back(connection) as outer:
        await outer.execute(text("INSERT INTO notes (body) VALUES ('by the fixture, open')"))
        await run_in_new_ctx(write, connection, "by the outer block")
        async with rolled_back(connection) as inner:
            await run_in_new_ctx(write, connection, "by the inner block")
            await inner.execute(text("INSERT INTO notes (body) VALUES ('by the test')"))
            for session in (inner, outer):
                assert await session.scalar(text("SELECT count(*) FROM notes")) == 4
            await inner.commit()
            await run_in_new_ctx(write, connection, "by the inner block again")
        await run_in_new_ctx(write, connection, "by the outer block again")
        rows = (await outer.scalars(text("SELECT body FROM notes ORDER BY id"))).all()
        assert rows == ["by the fixture, open", "by the outer block", "by the outer block again"]
        await outer.commit()
        assert await outer.scalar(text("SELECT count(*) FROM notes")) == 3
    assert await database.notes() == []
    await run_in_new_ctx(write, connection, "after the blocks")
    assert await database.notes() == ["after the blocks"]


async def test_blocks_nest_again_and_after_an_exception(connection: DBConnect, database: Database) -> None:
    async with rolled_back(connection) as outer:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                async with rolled_back(connection), rolled_back(connection):
                    await run_in_new_ctx(write, connection, "discarded")
                    raise ZeroDivisionError
            assert await outer.scalar(text("SELECT count(*) FROM notes")) == 0
    assert await database.notes() == []


async def test_a_commit_beneath_an_inner_block_is_refused(connection: DBConnect, database: Database) -> None:
    async with rolled_back(connection) as outer:
        await outer.execute(text("INSERT INTO notes (body) VALUES ('kept')"))
        async with rolled_back(connection, turn_timeout=0.05):
            with pytest.raises(TimeoutError, match=r"block was opened within this one\. Leave that block"):
                await outer.commit()
        await outer.commit()
        assert await outer.scalar(text("SELECT count(*) FROM notes")) == 1
    assert await database.notes() == []


async def test_a_transaction_that_the_outer_session_begins_within_an_inner_block_ends_with_that_block(
    connection: DBConnect,
) -> None:
    async with rolled_back(connection) as outer:
        async with rolled_back(connection):
            await outer.execute(text("INSERT INTO notes (body) VALUES ('discarded')"))
            await run_in_new_ctx(write, connection, "discarded")
        assert await outer.scalar(text("SELECT count(*) FROM notes")) == 0


async def test_a_commit_of_the_tests_session_waits_for_a_request(connection: DBConnect) -> None:
    async with rolled_back(connection) as session:
        await session.execute(text("INSERT INTO notes (body) VALUES ('by the test')"))
        written = asyncio.Event()

        async def request() -> None:
            await write(connection, "by a request")
            written.set()
            await turns()

        task = asyncio.create_task(run_in_new_ctx(request))
        await written.wait()
        await session.commit()
        await task
        assert await session.scalar(text("SELECT count(*) FROM notes")) == 2


async def test_an_inner_block_starts_within_an_application_that_has_stopped(
    connection: DBConnect, database: Database
) -> None:
    await connection.session_maker()
    async with rolled_back(connection) as outer:
        await connection.close()
        async with rolled_back(connection):
            await run_in_new_ctx(write, connection, "discarded")
        assert await outer.scalar(text("SELECT count(*) FROM notes")) == 0
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


async def test_objects_of_the_test_are_flushed_for_a_request_and_refreshed_after_it(connection: DBConnect) -> None:
    async def shout() -> int:
        session = await db_session(connection)
        notes = (await session.scalars(select(Note))).all()
        for note in notes:
            note.body = note.body.upper()
        return len(notes)

    async def write_anew() -> None:
        session = await db_session(connection)
        await session.execute(text("UPDATE notes SET body = 'anew'"))

    async with rolled_back(connection) as session:
        session.add(note := Note(body="by the test"))
        assert await run_in_new_ctx(shout) == 0
        await session.flush()
        assert await run_in_new_ctx(shout) == 1
        assert note.body == "by the test"
        await session.refresh(note)
        assert note.body == "BY THE TEST"
        await run_in_new_ctx(write_anew)
        assert (await session.get_one(Note, note.id)).body == "BY THE TEST"
        assert (await session.get_one(Note, note.id, populate_existing=True)).body == "anew"


async def test_a_flush_at_the_end_of_a_context_waits_for_its_turn_and_then_says_so(
    connection: DBConnect, database: Database
) -> None:
    async with rolled_back(connection, turn_timeout=0.1) as session:
        async with _open_transaction(connection, "by a request that goes on"):
            with pytest.raises(TimeoutError, match=r"waited 0.1 s for its turn"):
                async with db_context():
                    (await db_session(connection)).add(Note(body="flushed at the end"))
        assert (await session.scalars(text("SELECT body FROM notes"))).all() == ["by a request that goes on"]
    assert await database.notes() == []


@pytest.mark.parametrize(("turn_timeout", "finish_timeout"), [(0.1, 10.0), (30.0, 0.2)])
async def test_a_commit_that_waits_for_its_turn_says_so_whichever_limit_is_shorter(
    connection: DBConnect, turn_timeout: float, finish_timeout: float
) -> None:
    async with rolled_back(connection, turn_timeout=turn_timeout):
        context, token = open_context(Lifecycle(finish_timeout=finish_timeout))
        await write(connection, "by a request")
        async with _open_transaction(connection, "by a job of the request"):
            with pytest.raises(TimeoutError, match=r"waited 0.1 s for its turn") as raised:
                await finish(context, commit=True)
            assert type(raised.value) is TimeoutError
        leave_context(token)


async def test_a_transaction_that_ends_before_one_nested_in_it_rolls_both_back(
    connection: DBConnect, database: Database
) -> None:
    async with rolled_back(connection, turn_timeout=0.05) as session:
        written, go_on = asyncio.Event(), asyncio.Event()

        async def job() -> None:
            await write(connection, "lost")
            written.set()
            await go_on.wait()
            await write(connection, "half a unit")

        async def request() -> asyncio.Task[None]:
            await write(connection, "rolled back")
            task = asyncio.create_task(run_in_new_ctx(job))
            await written.wait()
            set_rollback()
            return task

        task = await run_in_new_ctx(request)
        go_on.set()
        with pytest.raises(InvalidRequestError, match="the transaction that this one is nested in has ended before it"):
            await task
        await run_in_new_ctx(write, connection, "by the next request")
        assert (await session.scalars(text("SELECT body FROM notes"))).all() == ["by the next request"]
    assert await database.notes() == []


async def test_a_transaction_that_is_rolled_back_waits_for_those_nested_in_it(connection: DBConnect) -> None:
    async with rolled_back(connection) as session:
        written = asyncio.Event()

        async def job() -> None:
            await write(connection, "by a job")
            written.set()
            await turns()
            await write(connection, "by a job")

        async def request() -> asyncio.Task[None]:
            await write(connection, "by a request")
            task = asyncio.create_task(run_in_new_ctx(job))
            await written.wait()
            set_rollback()
            return task

        await (await run_in_new_ctx(request))
        assert (await session.scalars(text("SELECT body FROM notes"))).all() == []
        await run_in_new_ctx(write, connection, "by the next request")
        assert (await session.scalars(text("SELECT body FROM notes"))).all() == ["by the next request"]


async def test_the_end_of_an_inner_block_does_not_wait_for_a_job_that_is_left_over(connection: DBConnect) -> None:
    async with rolled_back(connection) as outer, AsyncExitStack() as left_over:
        async with asyncio.timeout(5), rolled_back(connection):
            await left_over.enter_async_context(_open_transaction(connection, "by a job"))
        assert await outer.scalar(text("SELECT count(*) FROM notes")) == 0


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


@asynccontextmanager
async def _open_transaction(connection: DBConnect, body: str) -> AsyncGenerator[None]:
    """Have another task write, and commit after the block."""
    written, go_on = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        await write(connection, body)
        written.set()
        await go_on.wait()

    task = asyncio.create_task(run_in_new_ctx(job))
    await written.wait()
    try:
        yield
    finally:
        go_on.set()
        await task
