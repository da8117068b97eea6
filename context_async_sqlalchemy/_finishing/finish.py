"""Ends a context: commits or rolls back its sessions, and closes them, exactly once."""

import sys

from context_async_sqlalchemy._context.context import Context, Work
from context_async_sqlalchemy._context.context_session import ContextSession, refuse_statements, sync_session_of
from context_async_sqlalchemy._runtime.shield import run_to_end
from context_async_sqlalchemy.observer import ReleaseCause

from .close import close_if_idle, close_sessions, rollback_sessions
from .commit import commit_sessions
from .parallel_use import explain_parallel_use


async def finish_by_status(context: Context, status: int) -> None:
    """End a context by the status of its response. A second call does nothing.

    The application's rule ``commit_on`` decides whether the status commits.

    Args:
        context: the context. Other tasks must not use it any more.
        status: the status of the response.

    Raises:
        Exception: see :func:`finish`. If the rule raised the exception, everything is rolled back.

    """
    if not context.is_open:
        return
    try:
        commits = bool(context.sessions) and not context.rollback_only and context.rules.commit_on(status)
    except BaseException:
        await finish(context, commit=False)
        raise
    await finish(context, commit=commits)


async def finish(context: Context, *, commit: bool | None) -> None:
    """End a context: commit or roll back the open transactions, close the sessions. A second call does nothing.

    Args:
        context: the context. Other tasks must not use it any more.
        commit: whether to commit or to roll back. ``set_rollback()`` overrides a commit. None only closes the sessions,
            which rolls the open transactions back.

    Raises:
        Exception: a hook, a flush or the first COMMIT raised it. Everything is rolled back and closed.
        PartialCommitError: a COMMIT failed after another connection had been committed.
        CommitTimeoutError: the first COMMIT did not end within ``finish_timeout``.

    """
    if not context.is_open:
        return
    context.is_open = False
    commits = bool(commit) and not context.rollback_only
    if not commits and context.sessions:
        # The caller is handling the error that ends the context, if there is one.
        explain_parallel_use(sys.exception())
    try:
        if commits:
            if work := context.transactions():
                await commit_sessions(context, work)
                # A second time, because a hook may have used a connection that had no transaction before.
                if context.rules.has_commit_hooks and (work := context.transactions()):
                    await commit_sessions(context, work)
        elif commit is not None and (work := stand_ins(context.transactions())):
            # Rolled back here, because a mock's close() rolls nothing back.
            await run_to_end(rollback_sessions(context, work))
    except BaseException as error:
        if context.record is not None:
            context.record.commit_failed(error)
        raise
    finally:
        await _close_and_end(context, commits=commits)


def stand_ins(work: Work) -> Work:
    """Return the mocks among sessions. See docs/decisions/0009."""
    return [entry for entry in work if sync_session_of(entry[1]) is None]


async def release_by_status(context: Context, status: int, cause: ReleaseCause = "headers") -> Work:
    """Commit or roll back the open transactions by the status, before the headers of a stream are sent.

    A transaction with an open server-side cursor is left alone. See docs/decisions/0003.

    Args:
        context: the context, which stays open.
        status: the status of the response.
        cause: the cause in the observers' records. ``"end"`` is not an early release, because the response is complete.

    Returns:
        The sessions that were committed or rolled back.

    Raises:
        Exception: a commit failed. The adapter must not send the response of a success.

    """
    if not context.is_open:
        return []
    work = [
        (database, session)
        for database, session in context.transactions()
        if not (isinstance(session, ContextSession) and session.is_streaming)
    ]
    if not work:
        return []
    context.releasing = cause
    try:
        if not context.rollback_only and context.rules.commit_on(status):
            try:
                await commit_sessions(context, work)
            except BaseException as error:
                if context.record is not None:
                    context.record.commit_failed(error)
                raise
        else:
            await run_to_end(rollback_sessions(context, work))
    finally:
        context.releasing = None
    return work


async def _close_and_end(context: Context, *, commits: bool) -> None:
    try:
        for session in context.sessions.values():
            refuse_statements(session)
        # A session without a transaction closes without I/O, so it needs no task.
        if work := [entry for entry in context.sessions.items() if not close_if_idle(entry[1])]:
            await run_to_end(close_sessions(context, work))
    finally:
        if context.record is not None:
            context.record.is_to_commit = commits
        context.end()
