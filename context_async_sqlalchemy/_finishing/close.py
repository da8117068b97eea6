"""Rolls sessions back and closes them, bounded in time. If that fails, a session's connections are invalidated."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from sqlalchemy.engine import Connection, RootTransaction, Transaction
from sqlalchemy.exc import IllegalStateChangeError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy._context.context import Context, Database, Entry, Work
from context_async_sqlalchemy._context.context_session import (
    give_back_what_comes_late,
    held_connections,
    sync_session_of,
)
from context_async_sqlalchemy._redaction import without_statements

from .parallel_use import PARALLEL_USE

logger = logging.getLogger("context_async_sqlalchemy")

Held = list[tuple[Connection, Transaction]]


async def rollback_sessions(context: Context, work: Iterable[Entry]) -> None:
    """Roll sessions back. If a rollback fails, the session's connections are invalidated, and the log says so."""
    await _end_transactions(context, work, _roll_back)


async def close_sessions(context: Context, work: Iterable[Entry]) -> None:
    """Close sessions, which rolls their transactions back. If that fails, the connections are invalidated."""
    await _end_transactions(context, work, _close)


async def _end_transactions(
    context: Context, work: Iterable[Entry], end: Callable[[AsyncSession, Held], Awaitable[None]]
) -> None:
    interruption: BaseException | None = None
    for entry in work:
        _, session = entry
        held = held_connections(session)
        try:
            async with asyncio.timeout(context.rules.finish_timeout):
                await end(session, held)
        except BaseException as error:  # noqa: BLE001 - logged; an interruption is raised after the others are ended
            await _invalidate(context, entry, held, error)
            if not isinstance(error, Exception):
                interruption = error
    if interruption is not None:
        raise interruption


async def _close(session: AsyncSession, _held: Held) -> None:
    await session.close()


async def _roll_back(session: AsyncSession, held: Held) -> None:
    if held:
        # First on the server, because Session.rollback() returns a connection to its pool even if the ROLLBACK has
        # failed. A statement of another task may still run on the connection.
        await session.run_sync(lambda _: _roll_back_on_the_server(held))
    await session.rollback()


def _roll_back_on_the_server(held: Held) -> None:
    for connection, transaction in held:
        # A transaction that is nested in the application's own is left to the application. Beneath an open SAVEPOINT,
        # Session.rollback() rolls the SAVEPOINT back first. The dialect rolls back, because Transaction.rollback()
        # would make Session.rollback() warn.
        if (
            type(transaction) is RootTransaction
            and transaction.is_active
            and not connection.invalidated
            and not connection.in_nested_transaction()
        ):
            dialect, pooled = connection.dialect, connection.connection
            try:
                dialect.do_rollback(pooled)
            except dialect.loaded_dbapi.Error as error:
                if not dialect.is_disconnect(error, pooled.dbapi_connection, None):
                    raise
                # The server has ended the transaction together with the connection.
                connection.invalidate(error)


async def roll_back_after(failure: BaseException, context: Context, work: Work) -> None:
    """Roll back a session whose commit has failed, and all later sessions.

    SQLAlchemy treats a transaction as ended after a failed commit. On SQLite the transaction is still open, and
    ``close()`` would return the connection with the transaction. So the session is rolled back. If the driver raises an
    InterfaceError, another task may be using the connection. So the connection is invalidated.
    """
    if isinstance(failure, InterfaceError) and not failure.connection_invalidated:
        await _invalidate(context, work[0], held_connections(work[0][1]), failure)
        work = work[1:]
    await rollback_sessions(context, work)


def close_if_idle(session: AsyncSession) -> bool:
    """Close a session that is in no transaction, and return whether it was closed.

    No I/O is needed for it, so no task either. See docs/decisions/0013.

    Returns:
        False if the session is in a transaction, is a mock, or if its ``close()`` has raised.

    """
    sync_session = sync_session_of(session)
    if sync_session is None or sync_session.in_transaction():
        return False
    try:
        sync_session.close()
    except Exception as error:
        logger.warning("a session's own close() has raised; it is called once more", exc_info=without_statements(error))
        return False
    return True


async def _invalidate(context: Context, entry: Entry, held: Held, error: BaseException) -> None:
    """Invalidate the connections of a session that could not be rolled back or closed.

    A connection that was returned to the pool in the middle of a statement would fail the next request.
    """
    database, session = entry
    logger.error(
        "the session of %r could not be ended (%r): its connection is invalidated. %s",
        database.name,
        error,
        _explanation(error, context),
    )
    if not context.is_open:
        give_back_what_comes_late(session)
    for connection, _ in held:
        if not connection.closed and not connection.invalidated:
            await _attempt(database, session, connection)
    try:
        await session.invalidate()
    except Exception as failure:
        if isinstance(error, IllegalStateChangeError) and isinstance(failure, IllegalStateChangeError):
            # Said above. The task that uses the session has yet to get a connection, which will be given back.
            return
        logger.warning(
            "the session of %r did not close after its invalidation",
            database.name,
            exc_info=without_statements(failure),
        )


def _explanation(error: BaseException, context: Context) -> str:
    if isinstance(error, TimeoutError):
        return (
            f"The database did not answer within {context.rules.finish_timeout:g} s (setup_db(finish_timeout=...)): "
            "look for a lost network path or an overloaded server"
        )
    if isinstance(error, IllegalStateChangeError | InterfaceError):
        return PARALLEL_USE
    return "The next transaction takes another connection"


async def _attempt(database: Database, session: AsyncSession, connection: Connection) -> None:
    try:
        await session.run_sync(lambda _: connection.invalidate())
    except Exception as error:
        logger.warning("a connection of %r could not be invalidated", database.name, exc_info=without_statements(error))
