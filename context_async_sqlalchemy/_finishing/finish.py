"""Ends a context: its sessions are committed or rolled back, and closed, exactly once."""

from context_async_sqlalchemy._context.context import Context, Work
from context_async_sqlalchemy._context.context_session import ContextSession, refuse_statements, sync_session_of
from context_async_sqlalchemy._runtime.shield import run_to_end
from context_async_sqlalchemy.observer import ReleaseCause

from .close import close_if_idle, close_sessions, rollback_sessions
from .commit import commit_sessions


async def finish_by_status(context: Context, status: int) -> None:
    """End a context as the application's rule says of the response's status. A second call does nothing.

    Args:
        context: the context; nobody else may use it any more.
        status: the status of the response.

    Raises:
        Exception: see :func:`finish`; or the rule raised it, and everything is rolled back.

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
        context: the context; nobody else may use it any more.
        commit: whether to commit or to roll back; ``set_rollback()`` overrides it. None only closes the sessions,
            which rolls the open transactions back.

    Raises:
        Exception: a hook, a flush or the first COMMIT raised it; everything is rolled back and closed.
        PartialCommitError: the same, where another connection had been committed before.
        CommitTimeoutError: a COMMIT did not end within ``finish_timeout``.

    """
    if not context.is_open:
        return
    context.is_open = False
    commits = bool(commit) and not context.rollback_only
    try:
        if commits:
            if work := context.transactions():
                await commit_sessions(context, work)
                # A hook may have used a connection that had not been used before.
                if context.rules.has_commit_hooks and (work := context.transactions()):
                    await commit_sessions(context, work)
        elif commit is not None and (work := stand_ins(context)):
            # A mock's close() rolls nothing back.
            await run_to_end(rollback_sessions(context, work))
    except BaseException as error:
        if context.record is not None:
            context.record.commit_failed(error)
        raise
    finally:
        await _close_and_end(context, commits=commits)


def stand_ins(context: Context) -> Work:
    """Return the sessions of a context that are mocks and say that they are in a transaction."""
    return [entry for entry in context.transactions() if sync_session_of(entry[1]) is None]


async def release_by_status(context: Context, status: int, cause: ReleaseCause = "headers") -> None:
    """Commit or roll back the open transactions, as the rule says, before the headers of a stream are sent.

    A transaction with an open server-side cursor is left alone.

    Args:
        context: the context, which stays open.
        status: the status of the response.
        cause: observers are told it; ``"end"`` is no early release, because the response is complete.

    Raises:
        Exception: the first failing commit raised it. Nothing of a success may be sent then.

    """
    if not context.is_open:
        return
    work = [
        (database, session)
        for database, session in context.transactions()
        if not (isinstance(session, ContextSession) and session.is_streaming)
    ]
    if not work:
        return
    context.releasing = cause
    try:
        if not context.rollback_only and context.rules.commit_on(status):
            await commit_sessions(context, work)
        else:
            await run_to_end(rollback_sessions(context, work))
    finally:
        context.releasing = None


async def _close_and_end(context: Context, *, commits: bool) -> None:
    try:
        for session in context.sessions.values():
            refuse_statements(session)
        # A session that is in no transaction closes without I/O, so without a task.
        if work := [entry for entry in context.sessions.items() if not close_if_idle(entry[1])]:
            await run_to_end(close_sessions(context, work))
    finally:
        if context.record is not None:
            context.record.is_to_commit = commits
        context.end()
