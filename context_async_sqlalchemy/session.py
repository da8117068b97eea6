"""What handlers call: the session of the current context, its early end, and sessions outside of any context."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal, get_args

from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from ._context.current import current, current_context
from ._finishing.close import close_if_idle, close_sessions, rollback_sessions
from ._finishing.commit import commit_sessions
from ._runtime.shield import run_to_end
from .connect import DBConnect

CurrentTransaction = Literal["commit", "rollback", "append", "raise"]


async def db_session(connect: DBConnect) -> AsyncSession:
    """Return the session of the current context for a connection: the same one for every caller.

    It takes no database connection before its first statement, and is committed or rolled back, and closed,
    when the context ends.

    Args:
        connect: the database.

    Raises:
        ContextNotInitiatedError: no context is open here.
        ContextClosedError: the context has ended; this code outlived its request.

    Example::

        session = await db_session(connection)
        await session.execute(...)

    """
    context = current.get() or current_context()
    if not context.is_open:
        context.require_open()
    session = context.sessions.get(connect)
    if session is not None:
        return session
    make = connect.make_context_session
    if make is None:
        # This may await. If another task is quicker, this one's session is dropped: it has not run a statement, so it
        # holds nothing. If the context ends meanwhile, it is said.
        return context.put_if_absent(connect, await connect.create_session())
    session = make()
    context.put(connect, session)
    return session


@asynccontextmanager
async def atomic_db_session(
    connect: DBConnect, current_transaction: CurrentTransaction = "commit"
) -> AsyncGenerator[AsyncSession]:
    """Run a block in a transaction of its own on the context's session: committed at its end, or rolled back.

    Args:
        connect: the database.
        current_transaction: what happens to a transaction that is open already: ``"commit"`` it,
            ``"rollback"``, ``"append"`` the block to it and commit both, or ``"raise"``.

    Raises:
        ValueError: ``current_transaction`` is none of these.
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
    """Commit the context's session now, which gives its database connection back to the pool.

    The session stays usable: its next statement begins a new transaction. Once begun, the COMMIT runs to its
    end even if the caller is cancelled.

    Raises:
        Exception: what the commit raised; the session is rolled back then.

    """
    session = current_context().session(connect)
    if session is not None and session.in_transaction():
        await commit_sessions(current_context(), [(connect, session)])


async def rollback_db_session(connect: DBConnect) -> None:
    """Roll the context's session back now, which gives its database connection back to the pool."""
    session = current_context().session(connect)
    if session is not None and session.in_transaction():
        await run_to_end(rollback_sessions(current_context(), [(connect, session)]))


async def close_db_session(connect: DBConnect) -> None:
    """Roll back what is open, give the database connection back and forget the loaded objects.

    ``db_session`` gives the same session afterwards, empty; or a new one where the connection has changed its
    host or has a ``before_create_session_handler`` to ask.
    """
    context = current_context()
    session = context.session(connect)
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
    """Open a new session outside of any context; it is closed at the end of the block, nothing is committed."""
    maker = await connect.session_maker()
    async with maker() as session:
        yield session


@asynccontextmanager
async def new_non_ctx_atomic_session(connect: DBConnect) -> AsyncGenerator[AsyncSession]:
    """Open a new session outside of any context, in a transaction that the end of the block commits."""
    async with new_non_ctx_session(connect) as session, session.begin():
        yield session
