"""The functions for handlers: the session of the current context, its early end, and sessions without a context."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal, get_args

from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from ._context.checks import require_connection
from ._context.current import current_context
from ._finishing.close import close_if_idle, close_sessions, rollback_sessions
from ._finishing.commit import commit_sessions
from ._runtime.shield import run_to_end
from .connect import DBConnect

CurrentTransaction = Literal["commit", "rollback", "append", "raise"]


async def db_session(connect: DBConnect) -> AsyncSession:
    """Return the current context's session for a database. Every caller gets the same session.

    The session checks out no connection before its first statement. The end of the context commits or rolls back the
    session, and closes it.

    Args:
        connect: the database.

    Raises:
        ContextNotInitiatedError: no context is open here.
        ContextClosedError: the context has ended, because this code outlived its request.
        TypeError: ``connect`` is not a DBConnect.

    Example::

        session = await db_session(connection)
        await session.execute(...)

    """
    context = current_context()
    session = context.session(connect)
    if session is not None:
        return session
    require_connection(connect)
    if context.rules.has_connections:
        connect.report_if_not_set_up()
    # The creation may await. If another task adds its session meanwhile, the new session is dropped. It has run no
    # statement, so it holds no connection. If the context ends meanwhile, `put_if_absent` raises.
    return context.put_if_absent(connect, await connect.create_session())


@asynccontextmanager
async def atomic_db_session(
    connect: DBConnect, current_transaction: CurrentTransaction = "commit"
) -> AsyncGenerator[AsyncSession]:
    """Give a block the context's session in a transaction that the end of the block commits.

    An exception of the block rolls the transaction back.

    Args:
        connect: the database.
        current_transaction: the way to treat a transaction that is already open. ``"commit"`` and ``"rollback"`` end
            it before the block. ``"append"`` adds the block to it and commits both. ``"raise"`` refuses it.

    Raises:
        ValueError: ``current_transaction`` has another value.
        sqlalchemy.exc.InvalidRequestError: a transaction is open, and ``current_transaction="raise"``.

    """
    if current_transaction not in get_args(CurrentTransaction):
        raise ValueError(
            f"current_transaction={current_transaction!r} is unknown: use one of "
            f"{', '.join(map(repr, get_args(CurrentTransaction)))}"
        )
    session = await db_session(connect)
    if session.in_transaction():
        if current_transaction == "raise":
            raise InvalidRequestError("the session has an open transaction already, and current_transaction='raise'")
        if current_transaction == "commit":
            await commit_db_session(connect)
        elif current_transaction == "rollback":
            await rollback_db_session(connect)
    if not session.in_transaction():
        await session.begin()
    try:
        yield session
    except BaseException:
        await rollback_db_session(connect)
        raise
    await commit_db_session(connect)


async def commit_db_session(connect: DBConnect) -> None:
    """Commit the context's session now, which returns its connection to the pool.

    The session stays usable, and its next statement begins a new transaction. A COMMIT that has begun runs to its end
    even if the caller is cancelled.

    Raises:
        Exception: a hook, a flush or the COMMIT raised it. The session is rolled back.

    """
    session = _session_or_none(connect)
    if session is not None and session.in_transaction():
        await commit_sessions(current_context(), [(connect, session)])


async def rollback_db_session(connect: DBConnect) -> None:
    """Roll the context's session back now, which returns its connection to the pool."""
    session = _session_or_none(connect)
    if session is not None and session.in_transaction():
        await run_to_end(rollback_sessions(current_context(), [(connect, session)]))


async def close_db_session(connect: DBConnect) -> None:
    """Close the context's session now: roll it back, return its connection, forget the loaded objects.

    Afterwards ``db_session`` returns the same session, without objects. It returns a new session if the ``DBConnect``
    has changed its host, or has a ``before_create_session_handler``.
    """
    context = current_context()
    session = _session_or_none(connect)
    if session is None:
        return
    if not connect.makes_sessions_like(session):
        context.pop(connect)
    context.releasing = "close"
    try:
        if not close_if_idle(session):
            await run_to_end(close_sessions(context, [(connect, session)]))
    finally:
        context.releasing = None


@asynccontextmanager
async def new_non_ctx_session(connect: DBConnect) -> AsyncGenerator[AsyncSession]:
    """Give a block a new session outside of any context. The end of the block closes it, and commits nothing."""
    require_connection(connect)
    maker = await connect.session_maker()
    async with maker() as session:
        yield session


@asynccontextmanager
async def new_non_ctx_atomic_session(connect: DBConnect) -> AsyncGenerator[AsyncSession]:
    """Give a block a new session outside of any context, in a transaction that the end of the block commits."""
    async with new_non_ctx_session(connect) as session, session.begin():
        yield session


def _session_or_none(connect: DBConnect) -> AsyncSession | None:
    """Return the current context's session for a database, or None if it has not been used."""
    session = current_context().session(connect)
    if session is None:
        # Otherwise nothing would happen, without a word.
        require_connection(connect)
    return session
