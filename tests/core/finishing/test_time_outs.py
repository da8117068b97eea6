"""A time-out at the end of a unit of work is one of the pool, the driver or the COMMIT, and cancels nobody."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from context_async_sqlalchemy import CommitTimeoutError, DBConnect, commit_db_session, db_context, db_session
from context_async_sqlalchemy.adapter_kit import Lifecycle, finish, leave_context, open_context
from context_async_sqlalchemy.observer import FailedCheckout, Observer
from tests.conformance.statements import run
from tests.support.connections import connect_to, in_use
from tests.support.database import SLOW_COMMIT_STATEMENT, Database
from tests.support.models import Note
from tests.support.waiting import turns


class _Failures(Observer):
    def __init__(self) -> None:
        self.failed: list[FailedCheckout] = []

    def checkout_failed(self, failure: FailedCheckout) -> None:
        self.failed.append(failure)


@pytest.fixture
async def exhausted(database: Database) -> AsyncGenerator[DBConnect]:
    """Give the test a connection whose pool of one place is taken."""
    connection = connect_to(database.url, pool_size=1, pool_timeout=0.1)
    await connection.session_maker()
    assert connection.engine is not None
    async with connection.engine.connect():
        yield connection
    await connection.close()


async def _add(connection: DBConnect, lifecycle: Lifecycle | None = None) -> None:
    context, token = open_context(lifecycle)
    try:
        (await db_session(connection)).add(Note(body="added"))
        await finish(context, commit=True)
    finally:
        leave_context(token)


async def test_an_exhausted_pool_times_out_a_unit_that_only_adds(exhausted: DBConnect, database: Database) -> None:
    task = asyncio.create_task(_add(exhausted))
    await asyncio.wait((task,))
    assert not task.cancelled()
    assert isinstance(task.exception(), PoolTimeoutError)
    assert await database.notes() == []


async def test_a_task_group_does_not_end_silently_over_a_write_that_did_not_happen(exhausted: DBConnect) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.TaskGroup() as group:
            group.create_task(_add(exhausted))
    assert raised.group_contains(PoolTimeoutError)


async def test_pool_timeout_bounds_the_wait_and_finish_timeout_does_not(exhausted: DBConnect) -> None:
    observer = _Failures()
    lifecycle = Lifecycle([exhausted], observers=[observer], finish_timeout=0.01)
    with pytest.raises(PoolTimeoutError) as raised:
        await _add(exhausted, lifecycle)
    (failure,) = observer.failed
    assert failure.failure == "timeout"
    assert any("Held most by" in note for note in raised.value.__notes__)
    await lifecycle.shut_down()


async def test_the_session_works_again_once_the_pool_has_a_place(database: Database) -> None:
    connection = connect_to(database.url, pool_size=1, pool_timeout=0.1)
    await connection.session_maker()
    assert connection.engine is not None
    async with db_context():
        session = await db_session(connection)
        session.add(Note(body="lost"))
        async with connection.engine.connect():
            with pytest.raises(PoolTimeoutError):
                await commit_db_session(connection)
        session.add(Note(body="kept"))
    assert await database.notes() == ["kept"]
    await connection.close()


async def test_a_silent_server_times_out_a_unit_that_only_adds() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = DBConnect.from_url(f"postgresql+asyncpg://nobody@127.0.0.1:{port}/none", connect_args={"timeout": 0.1})
    task = asyncio.create_task(_add(connection))
    await asyncio.wait((task,))
    assert not task.cancelled()
    assert isinstance(task.exception(), TimeoutError)
    assert in_use(connection) == 0
    await connection.close()
    server.close()
    await server.wait_closed()
    await turns()


async def test_a_commit_that_is_not_answered_is_told_as_unknown(database: Database) -> None:
    connection = connect_to(database.url, pool_size=1)
    context, token = open_context(Lifecycle(finish_timeout=0.2))
    async with database.gate_shut():
        await run(connection, SLOW_COMMIT_STATEMENT)
        with pytest.raises(CommitTimeoutError, match="outcome on the server is unknown"):
            await finish(context, commit=True)
    leave_context(token)
    assert context.has_committed
    assert in_use(connection) == 0
    await connection.close()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_time_out_around_a_commit_lets_the_commit_end(database: Database, driver: str) -> None:
    connection = DBConnect.from_url(make_url(database.url).set(drivername=f"postgresql+{driver}"), pool_size=1)
    async with db_context():
        async with database.gate_shut() as gate:

            async def open_the_gate() -> None:
                await asyncio.sleep(0.3)
                await gate.execute(text("SELECT pg_advisory_unlock(7)"))

            await run(connection, SLOW_COMMIT_STATEMENT)
            opening = asyncio.create_task(open_the_gate())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await commit_db_session(connection)
            await opening
        await run(connection, "SELECT 1")
    assert await database.notes("slow_notes") == ["slow"]
    await connection.close()
