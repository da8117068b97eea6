"""Commits sessions one after another. If a session fails, it and all later sessions are rolled back.

First the hooks and the flushes run in the caller's own task. Connections are checked out and statements are executed
there, so time-outs act as anywhere else. A cancellation rolls everything back. Then only the COMMITs run in a task that
no cancellation reaches. See docs/decisions/0004.
"""

import asyncio
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from context_async_sqlalchemy._context.checks import require_awaitable
from context_async_sqlalchemy._context.context import Context, Database, Work
from context_async_sqlalchemy._context.context_session import held_connections, sync_session_of
from context_async_sqlalchemy._context.rules import BeforeCommitCallback
from context_async_sqlalchemy._failed_transactions import require_sound, suspects
from context_async_sqlalchemy._runtime.shield import run_to_end
from context_async_sqlalchemy.exceptions import CommitTimeoutError, FailedTransactionError, PartialCommitError

from .close import roll_back_after, rollback_sessions


async def commit_sessions(context: Context, work: Work, before_commit: BeforeCommitCallback | None = None) -> None:
    """Commit sessions in the given order.

    Args:
        context: the context of the sessions.
        work: the sessions.
        before_commit: awaited with each session before the first COMMIT, instead of the application's own hook.

    Raises:
        asyncio.CancelledError: the caller was cancelled. Before the first COMMIT, everything is rolled back. Later,
            all COMMITs have ended.
        Exception: a hook, a flush or the first COMMIT raised it. Everything is rolled back.
        CommitTimeoutError: the first COMMIT did not end within ``finish_timeout``.
        PartialCommitError: a later COMMIT failed.

    """
    before_commit = before_commit or context.rules.before_commit
    try:
        if before_commit is not None:
            context.allow_current_task()
            for _, session in work:
                await require_awaitable(before_commit(session), "before_commit")
        for _, session in work:
            if _has_changes(session):
                await session.flush()
            if suspects and sync_session_of(session) is not None:
                await _require_sound(session)
    except BaseException:
        await run_to_end(rollback_sessions(context, work))
        raise
    caller = asyncio.current_task()
    await run_to_end(_commit_each(context, work, caller, 0 if caller is None else caller.cancelling()))


def _has_changes(session: AsyncSession) -> bool:
    sync_session = sync_session_of(session)
    # Asked here, because the public flush() starts a greenlet before it asks.
    return sync_session is not None and not sync_session._is_clean()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def _require_sound(session: AsyncSession) -> None:
    """Raise FailedTransactionError if a transaction of the session has failed.

    The commit asks again, but there the caller's cancellations and time-outs would not reach the question.
    """

    def ask(_session: Session) -> None:
        for connection, _ in held_connections(session):
            if connection in suspects:
                require_sound(connection)

    await session.run_sync(ask)


async def _commit_each(context: Context, work: Work, caller: asyncio.Task[Any] | None, cancellations: int) -> None:
    if caller is not None and caller.cancelling() > cancellations:
        # The caller was cancelled after it had handed the work over, and no COMMIT has been sent yet.
        await rollback_sessions(context, work)
        raise asyncio.CancelledError
    for position, (database, session) in enumerate(work):
        try:
            await _commit(context, database, session)
        except BaseException as failure:
            await roll_back_after(failure, context, work[position:])
            if position > 0:
                names = [database.name for database, _ in work]
                raise PartialCommitError(names[:position], names[position], names[position + 1 :]) from failure
            raise
    if context.rules.after_commit is not None:
        await _run_after_commit_hooks(context, work)


async def _commit(context: Context, database: Database, session: AsyncSession) -> None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checkers: this is a coroutine of a task
    limit = context.rules.commit_limit
    limit.enter(task)
    try:
        await session.commit()
    except BaseException as failure:
        if _may_have_taken_effect(failure):
            context.mark_committed()
        if limit.leave(task):
            raise CommitTimeoutError(database.name, context.rules.finish_timeout) from failure
        raise
    limit.leave(task)
    context.mark_committed()


def _may_have_taken_effect(failure: BaseException) -> bool:
    """Return whether a failed COMMIT may have taken effect, because the server has not refused it."""
    if isinstance(failure, FailedTransactionError):
        return False
    return not isinstance(failure, DBAPIError) or failure.connection_invalidated


async def _run_after_commit_hooks(context: Context, work: Work) -> None:
    after_commit = context.rules.after_commit
    if after_commit is None:
        return
    context.allow_current_task()
    limit = asyncio.timeout(context.rules.finish_timeout)
    try:
        async with limit:
            for _, session in work:
                await require_awaitable(after_commit(session), "after_commit")
                if session.in_transaction():
                    # The hook has used the session, and the new transaction would keep its connection.
                    await session.commit()
    except BaseException as failure:
        await rollback_sessions(context, [entry for entry in work if entry[1].in_transaction()])
        if limit.expired():
            raise TimeoutError(
                f"the after_commit hook did not end within {context.rules.finish_timeout:g} s and was cancelled; the "
                "data is committed. Do slow work in a job of its own; setup_db(finish_timeout=...) allows more time"
            ) from failure
        raise
