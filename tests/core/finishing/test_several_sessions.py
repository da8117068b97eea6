"""The end of a context with several sessions: what goes wrong with one of them leaves the others no connection."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from context_async_sqlalchemy import DBConnect, PartialCommitError, db_session, rollback_all_sessions
from context_async_sqlalchemy.adapter_kit import Lifecycle, finish, leave_context, open_context
from tests.conformance.statements import run, write
from tests.support.connections import connect_to, in_use
from tests.support.database import APPLICATION_NAME, FAILING_COMMIT, Database
from tests.support.frozen import behind_proxy


async def test_a_server_that_does_not_answer_keeps_no_connection_of_another_one(database: Database) -> None:
    second = connect_to(database.url, name="second", pool_size=1)
    async with behind_proxy(database.url, name="first", pool_size=1) as (first, proxy):
        context, token = open_context(Lifecycle(finish_timeout=0.1))
        await run(first, "SELECT 1")
        await write(second, "discarded")
        proxy.freeze()
        await finish(context, commit=False)
        leave_context(token)
        assert [in_use(first), in_use(second)] == [0, 0]
    assert await database.notes() == []
    await second.close()


class _Cancelled(AsyncSession):
    """A session whose driver lets a cancellation out that nobody has made."""

    async def rollback(self) -> None:
        raise asyncio.CancelledError

    async def close(self) -> None:
        raise asyncio.CancelledError


def _connect(url: str) -> DBConnect:
    arguments = {"server_settings": {"application_name": APPLICATION_NAME}}
    return DBConnect(
        lambda _: create_async_engine(url, pool_size=1, max_overflow=0, connect_args=arguments),
        lambda engine: async_sessionmaker(engine, class_=_Cancelled),
        "host",
        name="first",
    )


@pytest.mark.parametrize("ending", ["finish", "roll back"])
async def test_a_cancellation_that_one_session_lets_out_reaches_the_others_only_after_their_end(
    database: Database, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = _connect(database.url), connect_to(database.url, name="second", pool_size=1)
    context, token = open_context(Lifecycle())
    await run(first, "SELECT 1")
    await write(second, "discarded")
    with pytest.raises(RuntimeError, match="although nobody cancelled its caller"):
        await (finish(context, commit=False) if ending == "finish" else rollback_all_sessions())
    assert [in_use(first), in_use(second)] == [0, 0]
    assert "the session of 'first' could not be ended" in caplog.text
    assert await database.notes() == []
    leave_context(token)
    for connection in (first, second):
        await connection.close()


async def test_the_first_session_that_was_asked_for_commits_first_though_it_is_used_last(database: Database) -> None:
    first, second = (connect_to(database.url, name=name, pool_size=1) for name in ("first", "second"))
    context, token = open_context(Lifecycle())
    for connection in (first, second):
        await db_session(connection)
    await run(second, FAILING_COMMIT)
    await write(first, "kept")
    with pytest.raises(PartialCommitError, match="'second' failed after 'first' had been committed"):
        await finish(context, commit=True)
    leave_context(token)
    assert await database.notes() == ["kept"]
    for connection in (first, second):
        await connection.close()
