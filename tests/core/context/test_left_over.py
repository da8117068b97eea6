"""Tasks that outlive their context, in the odd moments of its end; and a context that gave a session away."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import (
    ContextClosedError,
    DBConnect,
    db_session,
    init_db_session_ctx,
    pop_db_session_from_context,
    reset_db_session_ctx,
)
from context_async_sqlalchemy.adapter_kit import Lifecycle, finish, leave_context, open_context
from tests.conformance.statements import write
from tests.support.connections import connect_to
from tests.support.database import Database


async def test_a_left_over_task_is_refused_while_a_commit_hook_runs(connection: DBConnect, database: Database) -> None:
    committing = asyncio.Event()

    async def outlives() -> AsyncSession:
        await committing.wait()
        return await db_session(connection)

    async def before_commit(session: AsyncSession) -> None:
        committing.set()
        await asyncio.wait((left_over,))
        # The hook itself may use the context.
        assert await db_session(connection) is session

    context, token = open_context(Lifecycle(before_commit=before_commit))
    await write(connection, "kept")
    left_over = asyncio.create_task(outlives())
    await finish(context, commit=True)
    leave_context(token)
    assert isinstance(left_over.exception(), ContextClosedError)
    assert await database.notes() == ["kept"]


async def test_a_left_over_task_is_refused_after_a_reset_without_a_close(connection: DBConnect) -> None:
    ended = asyncio.Event()

    async def outlives() -> AsyncSession:
        await ended.wait()
        return await db_session(connection)

    token = init_db_session_ctx()
    session = await db_session(connection)
    left_over = asyncio.create_task(outlives())
    await reset_db_session_ctx(token, with_close=False)
    ended.set()
    with pytest.raises(ContextClosedError):
        await left_over
    await session.close()


async def test_a_shutdown_waits_for_a_context_that_has_given_one_of_its_sessions_away(database: Database) -> None:
    first, second = (connect_to(database.url, name=name) for name in ("first", "second"))
    lifecycle = Lifecycle(tracks_contexts=True)
    context, token = open_context(lifecycle)
    await db_session(first)
    await db_session(second)
    given_away = pop_db_session_from_context(first)
    assert given_away is not None
    assert await lifecycle.drain(0.01) == 1
    await finish(context, commit=False)
    assert await lifecycle.drain(0.01) == 0
    leave_context(token)
    await given_away.close()
