"""How the sessions of a context end: commit, rollback, close; shielded, bounded in time, in order of first use."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection, RootTransaction, Transaction
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from .completion import Completion, run_to_end
from .context_session import (
    ContextSession,
    give_back_what_comes_late,
    held_connections,
    refuse_statements,
    sync_session_of,
)
from .exceptions import CommitTimeoutError, PartialCommitError
from .lifecycle import BeforeCommitCallback, Lifecycle, logger
from .observer import ReleaseCause

if TYPE_CHECKING:
    from .connect import DBConnect
    from .context import Context

Entry = tuple["DBConnect", AsyncSession]
Work = list[Entry]
Held = list[tuple[Connection, Transaction]]


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
        if context.record is not None:
            context.record.commit_failed(error)
        raise
    finally:
        try:
            if not _close_idle(context):
                await run_to_end(_close_all(context))
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
            await run_to_end(_roll_back_after(failure, lifecycle, work[position:]))
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


async def rollback_sessions(lifecycle: Lifecycle, work: Iterable[Entry]) -> None:
    """Roll sessions back; one that cannot be has its connections invalidated, which is logged."""
    await _end_transactions(lifecycle, work, _roll_back)


async def close_sessions(lifecycle: Lifecycle, work: Iterable[Entry]) -> None:
    """Close sessions, rolling back what is open; if that fails connections are invalidated, which is logged."""
    await _end_transactions(lifecycle, work, _close)


async def _end_transactions(
    lifecycle: Lifecycle, work: Iterable[Entry], end: Callable[[AsyncSession, Held], Awaitable[None]]
) -> None:
    interruption: BaseException | None = None
    for entry in work:
        _, session = entry
        held = held_connections(session)
        try:
            async with asyncio.timeout(lifecycle.finish_timeout):
                await end(session, held)
        except BaseException as error:  # noqa: BLE001 - logged; an interruption is raised after the others are ended
            await _invalidate(lifecycle, entry, held, error)
            if not isinstance(error, Exception):
                interruption = error
    if interruption is not None:
        raise interruption


async def _close(session: AsyncSession, _held: Held) -> None:
    await session.close()


async def _roll_back(session: AsyncSession, held: Held) -> None:
    if held:
        # First on the server: Session.rollback() returns a connection to its pool also when the ROLLBACK has failed,
        # with another task's statement still running on it.
        await session.run_sync(lambda _: _roll_back_on_the_server(held))
    await session.rollback()


def _roll_back_on_the_server(held: Held) -> None:
    for connection, transaction in held:
        # Not what is nested in somebody else's transaction; and by the dialect, as Transaction.rollback() would make
        # Session.rollback() warn.
        if type(transaction) is RootTransaction and transaction.is_active:
            connection.dialect.do_rollback(connection.connection)


async def _roll_back_after(failure: BaseException, lifecycle: Lifecycle, work: Work) -> None:
    """Roll a session back whose commit has failed, and those that follow it.

    SQLAlchemy takes the transaction for ended then, whether it is or not. SQLite's is not: only ``rollback()`` ends
    it, ``close()`` would return the connection with it. And if the driver has refused, another task may be using the
    connection.
    """
    if isinstance(failure, InterfaceError):
        await _invalidate(lifecycle, work[0], held_connections(work[0][1]), failure)
        work = work[1:]
    await rollback_sessions(lifecycle, work)


def close_if_idle(session: AsyncSession) -> bool:
    """Close a session that is in no transaction: that needs no I/O, so no task. False: it is in one."""
    if session.in_transaction():
        return False
    sync_session = sync_session_of(session)
    if sync_session is None:
        return False
    sync_session.close()
    return True


async def _close_all(context: "Context") -> None:
    work = list(context.sessions.items())
    for _, session in work:
        refuse_statements(session)
    await close_sessions(
        context.lifecycle, [(connect, session) for connect, session in work if not close_if_idle(session)]
    )


def _close_idle(context: "Context") -> bool:
    """Close the sessions without I/O if no one is in a transaction."""
    idle: list[Session] = []
    for session in context.sessions.values():
        refuse_statements(session)
        sync_session = session.sync_session if isinstance(session, ContextSession) else sync_session_of(session)
        if sync_session is None or sync_session.in_transaction():
            return False
        idle.append(sync_session)
    for sync_session in idle:
        # A plain Session without objects has nothing to detach (add() begins a transaction, so there is none that is
        # new); an application's own class may do more in close().
        if type(sync_session) is not Session or len(sync_session.identity_map) > 0:
            sync_session.close()
    return True


async def _invalidate(lifecycle: Lifecycle, entry: Entry, held: Held, error: BaseException) -> None:
    """Throw away the connections of a session that could not be ended.

    A left-over task is in the middle of a statement on one of them, or the server does not answer: a
    connection that went back to the pool in that state would fail the next request.
    """
    connect, session = entry
    logger.error(
        "the session of %r could not be ended (%r): its connection is invalidated. Either a task that "
        "outlived its request is still using the session, or the database did not answer within %g s",
        connect.name,
        error,
        lifecycle.finish_timeout,
    )
    give_back_what_comes_late(session)
    for connection, _ in held:
        if not connection.closed and not connection.invalidated:
            await _attempt(connect, session, connection)
    try:
        await session.invalidate()
    except Exception:  # noqa: BLE001 - logged; the connections are gone by now, only the session's own state is odd
        logger.warning("the session of %r did not close after its invalidation", connect.name, exc_info=True)


async def _attempt(connect: "DBConnect", session: AsyncSession, connection: Connection) -> None:
    try:
        await session.run_sync(lambda _: connection.invalidate())
    except Exception:  # noqa: BLE001 - logged; the pool's slot is what the following session.invalidate() is for
        logger.warning("a connection of %r could not be invalidated", connect.name, exc_info=True)
