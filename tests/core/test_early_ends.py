"""commit_db_session and close_db_session where there is little or nothing to end, and when they are cancelled."""

import asyncio

import pytest
from sqlalchemy import text

from context_async_sqlalchemy import (
    DBConnect,
    Retry,
    close_db_session,
    commit_db_session,
    db_context,
    db_session,
    get_db_session_from_context,
    retried,
)
from tests.conformance.statements import run, write
from tests.support.connections import in_use
from tests.support.database import CONFLICT, Database
from tests.support.frozen import behind_proxy
from tests.support.waiting import turns


async def test_closing_a_session_is_not_interrupted_by_a_cancellation(database: Database) -> None:
    async with behind_proxy(database.url, pool_size=1) as (connection, proxy), db_context():
        session = await db_session(connection)
        backend = await session.scalar(text("SELECT pg_backend_pid()"))
        proxy.freeze()
        closing = asyncio.create_task(close_db_session(connection))
        await turns()
        closing.cancel()
        await turns()
        assert not closing.done()
        proxy.thaw()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert in_use(connection) == 0
        assert await session.scalar(text("SELECT pg_backend_pid()")) == backend


async def test_a_commit_where_nothing_was_used_does_nothing(connection: DBConnect) -> None:
    async with db_context():
        await commit_db_session(connection)
        assert get_db_session_from_context(connection) is None


async def test_a_commit_of_a_session_without_a_transaction_does_not_stand_in_the_way_of_a_retry(
    connection: DBConnect, database: Database
) -> None:
    attempts = 0

    @retried(Retry(base_delay=0))
    async def meets_a_conflict_once() -> None:
        nonlocal attempts
        attempts += 1
        await db_session(connection)
        await commit_db_session(connection)
        await write(connection, f"attempt {attempts}")
        if attempts == 1:
            await run(connection, CONFLICT)

    async with db_context():
        await meets_a_conflict_once()
    assert await database.notes() == ["attempt 2"]
