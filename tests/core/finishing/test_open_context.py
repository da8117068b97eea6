"""A session of a context that goes on stays usable, whatever its connection met."""

import asyncio
import logging
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from context_async_sqlalchemy import (
    DBConnect,
    atomic_db_session,
    commit_db_session,
    db_context,
    db_session,
    rollback_db_session,
)
from tests.conformance.statements import run, write
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, Database


def _errors_of_the_library(caplog: pytest.LogCaptureFixture) -> list[str]:
    # SQLAlchemy's pool has a log of its own: 2.0.56 tells there of a connection that it terminates.
    return [
        record.message
        for record in caplog.records
        if record.levelno >= logging.ERROR and record.name == "context_async_sqlalchemy"
    ]


async def test_after_a_failed_commit(connection: DBConnect, database: Database) -> None:
    async with db_context():
        await run(connection, FAILING_COMMIT)
        with pytest.raises(IntegrityError):
            await commit_db_session(connection)
        await write(connection, "kept")
    assert await database.notes() == ["kept"]


async def test_after_a_time_out_around_a_query(connection: DBConnect, database: Database) -> None:
    async with db_context():
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await run(connection, "SELECT pg_sleep(10)")
            await rollback_db_session(connection)
        with pytest.raises(TimeoutError):
            async with atomic_db_session(connection), asyncio.timeout(0.05):
                await run(connection, "SELECT pg_sleep(10)")
        await write(connection, "kept")
    assert await database.notes() == ["kept"]


@pytest.mark.parametrize("killed_before", ["the statement", "the commit"])
async def test_a_worker_loop_survives_a_connection_that_is_killed(
    connection: DBConnect, database: Database, killed_before: str, caplog: pytest.LogCaptureFixture
) -> None:
    failed: list[int] = []
    async with db_context():
        for message in range(6):
            try:
                async with atomic_db_session(connection):
                    if message == 2 and killed_before == "the statement":
                        await run(connection, "SELECT 1")
                        await database.terminate_backends()
                    await write(connection, str(message))
                    if message == 2 and killed_before == "the commit":
                        await database.terminate_backends()
            except DBAPIError:
                failed.append(message)
    assert failed == [2]
    assert await database.notes() == ["0", "1", "3", "4", "5"]
    assert in_use(connection) == 0
    assert _errors_of_the_library(caplog) == []


async def test_cancelled_twice_in_an_atomic_block_logs_no_error(
    connection: DBConnect, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with db_context(), atomic_db_session(connection):
            await run(connection, "SELECT pg_sleep(10)")

    task = asyncio.create_task(work())
    await database.wait_for_statement("pg_sleep")
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert in_use(connection) == 0
    assert _errors_of_the_library(caplog) == []


async def test_parallel_use_of_one_session_is_called_so(
    connection: DBConnect, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with db_context():
        await run(connection, "SELECT 1")

    async def use() -> None:
        session = await db_session(connection)
        await session.execute(text("SELECT pg_sleep(0.3)"))

    left: list[asyncio.Task[None]] = []
    with pytest.raises(ZeroDivisionError):
        async with db_context():
            left = [asyncio.create_task(use()) for _ in range(2)]
            await database.wait_for_statement("pg_sleep")
            raise ZeroDivisionError
    await asyncio.gather(*left, return_exceptions=True)
    assert in_use(connection) == 0
    told = [record.message for record in caplog.records if "could not be ended" in record.message]
    assert all("Another task is using the session" in message for message in told)
    assert not any("10 s" in message for message in told)


async def test_a_session_event_may_open_a_context_while_a_commit_runs(connection: DBConnect) -> None:
    from sqlalchemy import event  # noqa: PLC0415
    from sqlalchemy.util import await_only  # noqa: PLC0415

    from context_async_sqlalchemy import run_in_new_ctx  # noqa: PLC0415

    async def nested() -> None:
        await write(connection, "nested")

    def before_commit(_session: object) -> None:
        await_only(run_in_new_ctx(nested))

    async def work() -> None:
        async with db_context():
            session = await db_session(connection)
            event.listen(session.sync_session, "before_commit", before_commit)
            await write(connection, "outer")

    async with asyncio.timeout(5):
        await work()
