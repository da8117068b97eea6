"""The server ends a statement, a transaction or a connection, at each stage of a unit of work.

The caller is told of no success that did not happen. The pool keeps all of its places. No later unit gets a connection
that is not whole.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from context_async_sqlalchemy import DBConnect, commit_db_session, db_context, db_session
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.conformance.statements import run, write
from tests.support.connections import in_use
from tests.support.database import APPLICATION_NAME, SLOW_COMMIT_STATEMENT, Database
from tests.support.recorder import Recorder

End = Literal[
    "pg_terminate_backend",
    "statement_timeout",
    "transaction_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
]

_POOL_SIZE = 2
_LIMIT = 300
"""Milliseconds of each limit of the server. A busy machine must keep them in the units after it too."""

_PAST_THE_LIMIT = 2 * _LIMIT / 1000
_SINCE = {"transaction_timeout": 17, "idle_session_timeout": 14}
"""The versions of PostgreSQL that have a setting at first."""


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    """Run the test on each driver."""
    return str(request.param)


@pytest.fixture
async def version(database: Database) -> int:
    """Give the test the major version of the server."""
    engine = create_async_engine(database.url)
    async with engine.connect() as connection:
        number = (await connection.exec_driver_sql("SHOW server_version_num")).scalar_one()
    await engine.dispose()
    return int(number) // 10_000


@asynccontextmanager
async def _limited(
    database: Database, driver: str, end: End, version: int, **options: Any
) -> AsyncGenerator[tuple[DBConnect, Recorder]]:
    """Give a connection whose sessions have one limit, and what an observer is told of it."""
    settings = {"application_name": APPLICATION_NAME}
    # An older server has no such limit, so the test ends the connection itself.
    if end != "pg_terminate_backend" and version >= _SINCE.get(end, 0):
        settings[end] = str(_LIMIT)
    if driver == "asyncpg":
        arguments: dict[str, Any] = {"server_settings": settings}
    else:
        # libpq splits the options at spaces.
        options_of_libpq = (
            f"-c {name}={value}".replace(" ", r"\ ").replace(r"\ ", " ", 1) for name, value in settings.items()
        )
        arguments = {"options": " ".join(options_of_libpq)}
    url = make_url(database.url).set(drivername=f"postgresql+{driver}")
    connection = DBConnect.from_url(
        url, name="main", pool_size=_POOL_SIZE, max_overflow=0, pool_timeout=5, connect_args=arguments, **options
    )
    recorder = Recorder()
    lifecycle = Lifecycle([connection], observers=[recorder])
    try:
        yield connection, recorder
    finally:
        await lifecycle.shut_down()


async def _end(database: Database, end: End, version: int) -> None:
    """Let the limit pass, or end the connections."""
    if end == "pg_terminate_backend" or version < _SINCE.get(end, 0):
        await database.terminate_backends()
    await asyncio.sleep(_PAST_THE_LIMIT)


async def _fail(unit: Callable[[], Awaitable[None]]) -> BaseException:
    """Run a unit in a context of its own; return its error."""
    try:
        async with db_context():
            await unit()
    except Exception as error:  # noqa: BLE001 - the caller looks at it
        return error
    pytest.fail("the unit is told as a success")


async def _require_whole(connection: DBConnect, database: Database, *notes: str) -> None:
    """Check that nothing is left but some notes, that all places work, and that what they write is committed."""
    assert in_use(connection) == 0
    await database.wait_for_backends("state LIKE 'idle in transaction%'", count=0)
    assert await database.notes() == [*notes]
    together = asyncio.Barrier(_POOL_SIZE)

    async def unit(name: str) -> None:
        async with db_context(), together:
            await write(connection, name)

    names = [f"after {number}" for number in range(_POOL_SIZE)]
    await asyncio.gather(*(unit(name) for name in names))
    assert await database.notes() == [*names, *notes]
    assert in_use(connection) == 0


@pytest.mark.parametrize("end", ["pg_terminate_backend", "statement_timeout", "transaction_timeout"])
async def test_during_a_statement(database: Database, driver: str, end: End, version: int) -> None:
    async with _limited(database, driver, end, version) as (connection, recorder):

        async def unit() -> None:
            await write(connection, "lost")
            ending = asyncio.create_task(_end(database, end, version))
            try:
                await run(connection, "SELECT pg_sleep(10)")
            finally:
                await ending

        error = await _fail(unit)
        assert isinstance(error, DBAPIError)
        assert error.connection_invalidated == (end != "statement_timeout")
        assert recorder.transactions == ["rollback" if end == "statement_timeout" else "lost"]
        await _require_whole(connection, database)


@pytest.mark.parametrize("end", ["pg_terminate_backend", "idle_in_transaction_session_timeout", "transaction_timeout"])
async def test_between_two_statements(database: Database, driver: str, end: End, version: int) -> None:
    async with _limited(database, driver, end, version) as (connection, recorder):

        async def unit() -> None:
            await write(connection, "lost")
            await _end(database, end, version)
            await write(connection, "never")

        error = await _fail(unit)
        assert isinstance(error, DBAPIError)
        assert error.connection_invalidated
        assert recorder.transactions == ["lost"]
        await _require_whole(connection, database)


@pytest.mark.parametrize("end", ["pg_terminate_backend", "idle_in_transaction_session_timeout", "transaction_timeout"])
async def test_before_the_commit(database: Database, driver: str, end: End, version: int) -> None:
    async with _limited(database, driver, end, version) as (connection, recorder):

        async def unit() -> None:
            await write(connection, "lost")
            await _end(database, end, version)

        error = await _fail(unit)
        assert isinstance(error, DBAPIError)
        assert error.connection_invalidated
        # The driver cannot know whether the server has got the COMMIT.
        assert recorder.transactions == ["unknown"]
        await _require_whole(connection, database)


@pytest.mark.parametrize("end", ["pg_terminate_backend", "transaction_timeout"])
async def test_during_the_commit(database: Database, driver: str, end: End, version: int) -> None:
    async with _limited(database, driver, end, version) as (connection, recorder), database.gate_shut():

        async def unit() -> None:
            await run(connection, SLOW_COMMIT_STATEMENT)

        failing = asyncio.create_task(_fail(unit))
        await database.wait_for_statement("COMMIT")
        await _end(database, end, version)
        error = await failing
        assert isinstance(error, DBAPIError)
        assert error.connection_invalidated
        assert recorder.transactions == ["unknown"]
        assert await database.notes("slow_notes") == []
        await _require_whole(connection, database)


async def test_a_statement_timeout_does_not_bound_a_commit(database: Database, driver: str) -> None:
    async with _limited(database, driver, "statement_timeout", 0) as (connection, recorder):
        async with db_context():
            await run(connection, SLOW_COMMIT_STATEMENT)
            async with database.gate_shut():
                committing = asyncio.create_task(commit_db_session(connection))
                await database.wait_for_statement("COMMIT")
                await asyncio.sleep(_PAST_THE_LIMIT)
                assert not committing.done()
            await committing
        assert recorder.transactions == ["commit"]
        assert await database.notes("slow_notes") == ["slow"]
        await _require_whole(connection, database)


@pytest.mark.parametrize("end", ["pg_terminate_backend", "idle_session_timeout"])
async def test_before_the_first_statement(database: Database, driver: str, end: End, version: int) -> None:
    async with _limited(database, driver, end, version) as (connection, _):
        async with db_context():
            await write(connection, "first")
        await _end(database, end, version)

        async def unit() -> None:
            await write(connection, "lost")

        error = await _fail(unit)
        assert isinstance(error, DBAPIError)
        assert error.connection_invalidated
        await _require_whole(connection, database, "first")


@pytest.mark.parametrize(
    ("end", "option"),
    [
        ("pg_terminate_backend", {"pool_pre_ping": True}),
        ("idle_session_timeout", {"pool_pre_ping": True}),
        ("idle_session_timeout", {"pool_recycle": _LIMIT / 2_000}),
    ],
)
async def test_before_the_first_statement_with_an_option_that_replaces_the_connection(
    database: Database, driver: str, end: End, option: dict[str, Any], version: int
) -> None:
    async with _limited(database, driver, end, version, **option) as (connection, _):
        async with db_context():
            await write(connection, "first")
        await _end(database, end, version)
        async with db_context():
            await write(connection, "second")
        await _require_whole(connection, database, "first", "second")


def test_the_page_about_the_limits_has_those_that_are_tested_here() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "limit-sessions-on-the-server.md").read_text()
    in_the_table = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    assert in_the_table == {*get_args(End)} - {"pg_terminate_backend"}


async def test_a_handler_that_swallows_the_error_is_no_success(database: Database, driver: str) -> None:
    async with _limited(database, driver, "pg_terminate_backend", 0) as (connection, _):

        async def unit() -> None:
            session = await db_session(connection)
            await write(connection, "lost")
            await database.terminate_backends()
            with pytest.raises(DBAPIError):
                await session.execute(text("SELECT 1"))

        await _fail(unit)
        await _require_whole(connection, database)


async def test_no_connection_that_died_in_the_moment_of_its_use_goes_back(database: Database, driver: str) -> None:
    # What the server says last may arrive in any turn of the loop, also in the one in which a statement begins.
    async with _limited(database, driver, "pg_terminate_backend", 0) as (connection, _):
        for step in range(20):

            async def unit(step: int = step) -> None:
                session = await db_session(connection)
                pid = await session.scalar(text("SELECT pg_backend_pid()"))
                killing = asyncio.create_task(database.terminate(int(pid or 0)))
                await asyncio.sleep(step / 5_000)
                try:
                    for _ in range(10):
                        await session.execute(text("SELECT 1"))
                finally:
                    await killing
                await session.execute(text("SELECT 1"))

            error = await _fail(unit)
            assert isinstance(error, DBAPIError)
            async with db_context():
                await run(connection, "SELECT 1")
        await _require_whole(connection, database)
