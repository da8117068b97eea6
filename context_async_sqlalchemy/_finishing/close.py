"""How the sessions of a context are rolled back and closed, bounded in time, and what becomes of one that cannot be."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from sqlalchemy.engine import Connection, RootTransaction, Transaction
from sqlalchemy.exc import InterfaceError
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy._context.context import Database, Entry, Work
from context_async_sqlalchemy._context.context_session import (
    give_back_what_comes_late,
    held_connections,
    sync_session_of,
)
from context_async_sqlalchemy._context.rules import Rules

logger = logging.getLogger("context_async_sqlalchemy")

Held = list[tuple[Connection, Transaction]]


async def rollback_sessions(rules: Rules, work: Iterable[Entry]) -> None:
    """Roll sessions back; one that cannot be has its connections invalidated, which is logged."""
    await _end_transactions(rules, work, _roll_back)


async def close_sessions(rules: Rules, work: Iterable[Entry]) -> None:
    """Close sessions, rolling back what is open; if that fails connections are invalidated, which is logged."""
    await _end_transactions(rules, work, _close)


async def _end_transactions(
    rules: Rules, work: Iterable[Entry], end: Callable[[AsyncSession, Held], Awaitable[None]]
) -> None:
    interruption: BaseException | None = None
    for entry in work:
        _, session = entry
        held = held_connections(session)
        try:
            async with asyncio.timeout(rules.finish_timeout):
                await end(session, held)
        except BaseException as error:  # noqa: BLE001 - logged; an interruption is raised after the others are ended
            await _invalidate(rules, entry, held, error)
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


async def roll_back_after(failure: BaseException, rules: Rules, work: Work) -> None:
    """Roll a session back whose commit has failed, and those that follow it.

    SQLAlchemy takes the transaction for ended then, whether it is or not. SQLite's is not: only ``rollback()`` ends
    it, ``close()`` would return the connection with it. And if the driver has refused, another task may be using the
    connection.
    """
    if isinstance(failure, InterfaceError):
        await _invalidate(rules, work[0], held_connections(work[0][1]), failure)
        work = work[1:]
    await rollback_sessions(rules, work)


def close_if_idle(session: AsyncSession) -> bool:
    """Close a session that is in no transaction: that needs no I/O, so no task. False: it is in one, or has raised."""
    if session.in_transaction():
        return False
    sync_session = sync_session_of(session)
    if sync_session is None:
        return False
    try:
        sync_session.close()
    except Exception:
        logger.warning("a session's own close() has raised; it is called once more", exc_info=True)
        return False
    return True


async def _invalidate(rules: Rules, entry: Entry, held: Held, error: BaseException) -> None:
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
        rules.finish_timeout,
    )
    give_back_what_comes_late(session)
    for connection, _ in held:
        if not connection.closed and not connection.invalidated:
            await _attempt(connect, session, connection)
    try:
        await session.invalidate()
    except Exception:
        logger.warning("the session of %r did not close after its invalidation", connect.name, exc_info=True)


async def _attempt(connect: Database, session: AsyncSession, connection: Connection) -> None:
    try:
        await session.run_sync(lambda _: connection.invalidate())
    except Exception:
        logger.warning("a connection of %r could not be invalidated", connect.name, exc_info=True)
