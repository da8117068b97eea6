"""How the sessions of a context end: commit, rollback, close; shielded, bounded in time, in order of first use."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, NoReturn

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from context_async_sqlalchemy._context.context_session import ContextSession, refuse, refuse_statements, sync_session_of
from context_async_sqlalchemy._runtime.shield import Completion, run_to_end
from context_async_sqlalchemy.exceptions import CommitTimeoutError, PartialCommitError
from context_async_sqlalchemy.lifecycle import BeforeCommitCallback
from context_async_sqlalchemy.observer import ReleaseCause

from .close import Work, close_if_idle, close_sessions, roll_back_after, rollback_sessions

if TYPE_CHECKING:
    from context_async_sqlalchemy._context.context import Context


_PLAIN_COMMITS = (ContextSession.commit, AsyncSession.commit)


async def finish_by_status(context: "Context", status: int) -> None:
    """End a context as the application's rule says of the response's status. A second call does nothing.

    Args:
        context: the context; nobody else may use it any more.
        status: of the response.

    Raises:
        Exception: see :func:`finish`; or what the rule raised, everything is rolled back then.

    """
    if not context.is_open:
        return
    lifecycle, sessions = context.lifecycle, context.sessions
    try:
        commits = bool(sessions) and not context.rollback_only and lifecycle.commit_on(status)
    except BaseException:
        await finish(context, commit=False)
        raise
    session = next(iter(sessions.values())) if commits and len(sessions) == 1 else None
    if type(session) is not ContextSession or lifecycle.has_commit_hooks:
        await finish(context, commit=commits)
        return
    # Nearly every request: a session of SQLAlchemy's own class, and no hooks. What finish() does for any, without the
    # calls that it takes for that: 2 % of a short transaction.
    context.is_open = False
    sync_session = session.sync_session
    if sync_session.in_transaction():
        completion = Completion()
        lifecycle.commit_watch.enter(completion)
        try:
            await completion.run(session.commit())
        except BaseException as raised:  # noqa: BLE001 - raised there
            lifecycle.commit_watch.leave(completion)
            await _end_after_failed_commit(context, completion, raised)
        lifecycle.commit_watch.leave(completion)
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


async def finish(context: "Context", *, commit: bool | None) -> None:
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
                if context.lifecycle.has_commit_hooks and (work := context.transactions()):
                    await commit_sessions(context, work)
        elif commit is not None and (work := stand_ins(context)):
            # A mock's close() rolls nothing back.
            await run_to_end(rollback_sessions(context.lifecycle, work))
    except BaseException as error:
        _note_failed_commit(context, error)
        raise
    finally:
        await _close_and_end(context, commits=commits)


def stand_ins(context: "Context") -> Work:
    """Return the sessions of a context that are mocks or the like, and say that they are in a transaction."""
    return [entry for entry in context.transactions() if sync_session_of(entry[1]) is None]


async def release_by_status(context: "Context", status: int, cause: ReleaseCause = "headers") -> None:
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
        if not context.rollback_only and context.lifecycle.commit_on(status):
            await commit_sessions(context, work)
        else:
            await run_to_end(rollback_sessions(context.lifecycle, work))
    finally:
        context.releasing = None


def commit_sessions(
    context: "Context", work: Work, before_commit: BeforeCommitCallback | None = None
) -> Awaitable[None]:
    """Commit sessions one after another, to the end; when one fails, roll it and those after it back.

    Args:
        context: whose sessions they are.
        work: the sessions, in order.
        before_commit: in place of the application's own.

    Raises:
        Exception: see :func:`finish`.

    """
    completion = Completion()
    before_commit = before_commit or context.lifecycle.before_commit
    commits = _commit_each(completion, context, work, before_commit)
    if before_commit is not None or context.lifecycle.has_commit_hooks:
        return completion.run_in_task(commits)
    for _, session in work:
        # An application's own class may use asyncio.timeout; a stand-in may do anything.
        if getattr(type(session), "commit", None) not in _PLAIN_COMMITS:
            return completion.run_in_task(commits)
    return completion.run(commits)


async def _commit_each(
    completion: Completion, context: "Context", work: Work, before_commit: BeforeCommitCallback | None
) -> None:
    lifecycle = context.lifecycle
    if lifecycle.has_commit_hooks:
        context.adopt_finisher()
    for position, (_, session) in enumerate(work):
        completion.is_interrupted = has_begun = False
        lifecycle.commit_watch.enter(completion)
        try:
            if before_commit is not None:
                await before_commit(session)
            has_begun = True
            await session.commit()
            context.note_commit()
            if lifecycle.after_commit is not None:
                await lifecycle.after_commit(session)
                if session.in_transaction():
                    # The hook has used the session: end its transaction too, or it would keep the connection.
                    await session.commit()
        except BaseException as failure:  # noqa: BLE001 - raised there
            lifecycle.commit_watch.leave(completion)
            if has_begun:
                _note_unless_refused(context, failure)
            await _roll_back_and_raise(completion, context, work, position, failure)
        lifecycle.commit_watch.leave(completion)


async def _end_after_failed_commit(context: "Context", completion: Completion, raised: BaseException) -> NoReturn:
    """End a context whose only session's commit has failed, or has succeeded while its caller was cancelled."""
    failure = completion.failure_of_work(raised)
    try:
        if failure is None:
            context.note_commit()
        else:
            _note_unless_refused(context, failure)
            await run_to_end(_roll_back_and_raise(completion, context, [*context.sessions.items()], 0, failure))
    except BaseException as error:
        _note_failed_commit(context, error)
        if failure is raised or not isinstance(error, Exception):
            raise
        raise raised from error
    finally:
        await _close_and_end(context, commits=True)
    raise raised


def _note_failed_commit(context: "Context", error: BaseException) -> None:
    if context.record is not None:
        context.record.commit_failed(error)


def _note_unless_refused(context: "Context", failure: BaseException) -> None:
    """Take down that a COMMIT may have taken effect, unless the server has answered."""
    if not isinstance(failure, DBAPIError) or failure.connection_invalidated:
        context.note_commit()


async def _roll_back_and_raise(
    completion: Completion, context: "Context", work: Work, position: int, failure: BaseException
) -> NoReturn:
    """Roll back the session whose commit has failed, and those after it; raise what the application is told."""
    lifecycle = context.lifecycle
    names = [connect.name for connect, _ in work]
    error = CommitTimeoutError(names[position], lifecycle.finish_timeout) if completion.is_interrupted else failure
    await run_to_end(roll_back_after(failure, lifecycle, work[position:]))
    if position > 0:
        raise PartialCommitError(names[:position], names[position], names[position + 1 :]) from error
    if error is failure:
        raise failure
    raise error from failure


async def _close_and_end(context: "Context", *, commits: bool) -> None:
    try:
        if work := _close_idle(context):
            await run_to_end(close_sessions(context.lifecycle, work))
    finally:
        if context.record is not None:
            context.record.is_to_commit = commits
        context.end()


def _close_idle(context: "Context") -> Work:
    """Close the sessions that are in no transaction, which needs no I/O, so no task; return the others."""
    for session in context.sessions.values():
        refuse_statements(session)
    return [entry for entry in context.sessions.items() if not close_if_idle(entry[1])]
