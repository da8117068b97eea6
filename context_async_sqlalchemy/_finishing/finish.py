"""How the sessions of a context end: commit, rollback, close; shielded, bounded in time, in order of first use."""

from typing import NoReturn

from sqlalchemy.orm import Session

from context_async_sqlalchemy._context.context import Context, Work
from context_async_sqlalchemy._context.context_session import ContextSession, refuse, refuse_statements, sync_session_of
from context_async_sqlalchemy._runtime.shield import Completion, run_to_end
from context_async_sqlalchemy.observer import ReleaseCause

from .close import close_if_idle, close_sessions, rollback_sessions
from .commit import commit_sessions, note_unless_refused, roll_back_and_raise


async def finish_by_status(context: Context, status: int) -> None:
    """End a context as the application's rule says of the response's status. A second call does nothing.

    Args:
        context: the context; nobody else may use it any more.
        status: of the response.

    Raises:
        Exception: see :func:`finish`; or what the rule raised, everything is rolled back then.

    """
    if not context.is_open:
        return
    rules, sessions = context.rules, context.sessions
    try:
        commits = bool(sessions) and not context.rollback_only and rules.commit_on(status)
    except BaseException:
        await finish(context, commit=False)
        raise
    session = next(iter(sessions.values())) if commits and len(sessions) == 1 else None
    if type(session) is not ContextSession or rules.has_commit_hooks:
        await finish(context, commit=commits)
        return
    # Nearly every request: a session of SQLAlchemy's own class, and no hooks. What finish() does for any, without the
    # calls that it takes for that: 2 % of a short transaction.
    context.is_open = False
    sync_session = session.sync_session
    if sync_session.in_transaction():
        completion = Completion()
        rules.commit_watch.enter(completion)
        try:
            await completion.run(session.commit())
        except BaseException as raised:  # noqa: BLE001 - raised there
            rules.commit_watch.leave(completion)
            await _end_after_failed_commit(context, completion, raised)
        rules.commit_watch.leave(completion)
        # What note_commit() does; only a nested context, of which there are few, is worth its call.
        context.has_committed = True
        if context.parent is not None:
            context.note_commit()
    if type(sync_session) is not Session or len(sync_session.identity_map) > 0 or sync_session.in_transaction():
        await _close_and_end(context, commits=True)
        return
    # It has nothing to detach: add() begins a transaction, so there are no new objects either.
    sync_session.get_bind = refuse  # type: ignore[method-assign]
    if context.record is not None:
        context.record.is_to_commit = True
    context.end()


async def finish(context: Context, *, commit: bool | None) -> None:
    """End a context: commit or roll back what is open, close its sessions. A second call does nothing.

    Args:
        context: the context; nobody else may use it any more.
        commit: whether to commit or to roll back; ``set_rollback()`` overrides it. None only closes the sessions,
            which rolls back what is open.

    Raises:
        Exception: what the first failing commit or commit hook raised; everything is rolled back and closed.
        PartialCommitError: the same, where another connection had been committed before.
        CommitTimeoutError: a commit did not finish within ``finish_timeout``.

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
            await run_to_end(rollback_sessions(context.rules, work))
    except BaseException as error:
        _note_failed_commit(context, error)
        raise
    finally:
        await _close_and_end(context, commits=commits)


def stand_ins(context: Context) -> Work:
    """Return the sessions of a context that are mocks or the like, and say that they are in a transaction."""
    return [entry for entry in context.transactions() if sync_session_of(entry[1]) is None]


async def release_by_status(context: Context, status: int, cause: ReleaseCause = "headers") -> None:
    """Commit or roll back what is open, as the rule says, and go on: before the headers of a stream are sent.

    A transaction with an open server-side cursor is left alone.

    Args:
        context: the context, which stays open.
        status: of the response.
        cause: what observers are told; ``"end"`` for what is no early release, as the response is complete.

    Raises:
        Exception: what the first failing commit raised; nothing of a success may be sent then.

    """
    if not context.is_open:
        return
    work = [
        (connect, session)
        for connect, session in context.transactions()
        if not (isinstance(session, ContextSession) and session.is_streaming)
    ]
    if not work:
        return
    context.releasing = cause
    try:
        if not context.rollback_only and context.rules.commit_on(status):
            await commit_sessions(context, work)
        else:
            await run_to_end(rollback_sessions(context.rules, work))
    finally:
        context.releasing = None


async def _end_after_failed_commit(context: Context, completion: Completion, raised: BaseException) -> NoReturn:
    """End a context whose only session's commit has failed, or has succeeded while its caller was cancelled."""
    failure = completion.failure_of_work(raised)
    try:
        if failure is None:
            context.note_commit()
        else:
            note_unless_refused(context, failure)
            await run_to_end(roll_back_and_raise(completion, context, [*context.sessions.items()], 0, failure))
    except BaseException as error:
        _note_failed_commit(context, error)
        if failure is raised or not isinstance(error, Exception):
            raise
        raise raised from error
    finally:
        await _close_and_end(context, commits=True)
    raise raised


def _note_failed_commit(context: Context, error: BaseException) -> None:
    if context.record is not None:
        context.record.commit_failed(error)


async def _close_and_end(context: Context, *, commits: bool) -> None:
    try:
        if work := _close_idle(context):
            await run_to_end(close_sessions(context.rules, work))
    finally:
        if context.record is not None:
            context.record.is_to_commit = commits
        context.end()


def _close_idle(context: Context) -> Work:
    """Close the sessions that are in no transaction, which needs no I/O, so no task; return the others."""
    for session in context.sessions.values():
        refuse_statements(session)
    return [entry for entry in context.sessions.items() if not close_if_idle(entry[1])]
