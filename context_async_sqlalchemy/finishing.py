"""How the sessions of a context end: commit, rollback, close; shielded, bounded in time, in order of first use."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from .closing import Work, close_if_idle, close_sessions, roll_back_after, rollback_sessions
from .completion import Completion, run_to_end
from .context_session import ContextSession, refuse, refuse_statements, sync_session_of
from .exceptions import CommitTimeoutError, PartialCommitError
from .lifecycle import BeforeCommitCallback
from .observer import ReleaseCause

if TYPE_CHECKING:
    from .context import Context


async def finish(  # noqa: C901, PLR0912 - a hot path: a call costs more than a branch
    context: "Context", *, commit: bool | None = None, status: int | None = None
) -> None:
    """End a context: commit or roll back what is open, close its sessions. A second call does nothing.

    Args:
        context: the context; nobody else may use it any more.
        commit: whether to commit or to roll back; ``set_rollback()`` overrides it. None only closes the sessions,
            which rolls back what is open.
        status: of the response, for which the application's rule says it instead.

    Raises:
        Exception: what the first failing commit or commit hook raised, or the rule; everything is rolled back and
            closed.
        PartialCommitError: the same, where another connection had been committed before.
        CommitTimeoutError: a commit did not finish within ``finish_timeout``.

    """
    if not context.is_open:
        return
    if status is not None:
        try:
            commit = bool(context.sessions) and not context.rollback_only and context.lifecycle.commit_on(status)
        except BaseException:
            await finish(context, commit=False)
            raise
    context.is_open = False
    commits = bool(commit) and not context.rollback_only
    only: Session | None = None
    try:
        if commits:
            if len(context.sessions) == 1 and not context.lifecycle.has_commit_hooks:
                # Nearly every request. What is done for any sessions below, without its calls: 2 % of a short one.
                (entry,) = context.sessions.items()
                if type(entry[1]) is ContextSession:
                    only = entry[1].sync_session
                    if only.in_transaction():
                        completion = Completion()
                        await completion.run(_commit_each(completion, context, [entry], None))
            if only is None and (work := context.transactions()):
                await commit_sessions(context, work)
                # A hook may have used a connection that had not been used before.
                if context.lifecycle.has_commit_hooks and (work := context.transactions()):
                    await commit_sessions(context, work)
        elif commit is not None and (work := stand_ins(context)):
            # A mock's close() rolls nothing back.
            await run_to_end(rollback_sessions(context.lifecycle, work))
    except BaseException as error:
        if context.record is not None:
            context.record.commit_failed(error)
        raise
    finally:
        try:
            if type(only) is Session and len(only.identity_map) == 0 and not only.in_transaction():
                # It has nothing to detach: add() begins a transaction, so there are no new objects either.
                only.get_bind = refuse  # type: ignore[method-assign]
            elif work := _close_idle(context):
                await run_to_end(close_sessions(context.lifecycle, work))
        finally:
            if context.record is not None:
                context.record.is_to_commit = commits
            context.end()


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
        if getattr(type(session), "commit", None) is not AsyncSession.commit:
            return completion.run_in_task(commits)
    return completion.run(commits)


async def _commit_each(  # noqa: C901 - a hot path: a call costs more than a branch
    completion: Completion, context: "Context", work: Work, before_commit: BeforeCommitCallback | None
) -> None:
    lifecycle = context.lifecycle
    if lifecycle.has_commit_hooks:
        context.adopt_finisher()
    for position, (connect, session) in enumerate(work):
        completion.is_interrupted = has_begun = False
        lifecycle.commit_watch.enter(completion)
        try:
            if before_commit is not None:
                await before_commit(session)
            has_begun = True
            await session.commit()
            # What note_commit() does; only a nested context, of which there are few, is worth its call.
            context.has_committed = True
            if context.parent is not None:
                context.note_commit()
            if lifecycle.after_commit is not None:
                await lifecycle.after_commit(session)
                if session.in_transaction():
                    # The hook has used the session: end its transaction too, or it would keep the connection.
                    await session.commit()
        except BaseException as failure:
            lifecycle.commit_watch.leave(completion)
            if has_begun and not _is_refusal(failure):
                context.note_commit()
            error = CommitTimeoutError(connect.name, lifecycle.finish_timeout) if completion.is_interrupted else failure
            await run_to_end(roll_back_after(failure, lifecycle, work[position:]))
            if position > 0:
                names = [connection.name for connection, _ in work]
                raise PartialCommitError(names[:position], connect.name, names[position + 1 :]) from error
            if error is failure:
                raise
            raise error from failure
        lifecycle.commit_watch.leave(completion)


def _is_refusal(failure: BaseException) -> bool:
    """Tell whether a COMMIT is known not to have taken effect: the server has answered."""
    return isinstance(failure, DBAPIError) and not failure.connection_invalidated


def _close_idle(context: "Context") -> Work:
    """Close the sessions that are in no transaction, which needs no I/O, so no task; return the others."""
    for session in context.sessions.values():
        refuse_statements(session)
    return [entry for entry in context.sessions.items() if not close_if_idle(entry[1])]
