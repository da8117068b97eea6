"""A context opened by hand: for a middleware, a worker loop or a test of one's own."""

from contextvars import Token

from sqlalchemy.ext.asyncio import AsyncSession

from ._context.context import Context
from ._context.current import context_or_none, current, current_context, leave_context, open_context
from ._finishing.finish import finish
from .connect import DBConnect
from .exceptions import ContextAlreadyInitiatedError, ContextClosedError, ContextNotInitiatedError

__all__ = [
    "Context",
    "ContextAlreadyInitiatedError",
    "ContextClosedError",
    "ContextNotInitiatedError",
    "get_db_session_from_context",
    "init_db_session_ctx",
    "is_context_initiated",
    "open_context",
    "pop_db_session_from_context",
    "put_db_session_to_context",
    "reset_db_session_ctx",
]


def init_db_session_ctx(force: bool = False) -> Token[Context | None]:  # noqa: FBT001, FBT002 - published signature
    """Open a context: for a middleware of one's own.

    Args:
        force: open a nested one where a context is open already.

    Returns:
        The token for :func:`reset_db_session_ctx`.

    Raises:
        ContextAlreadyInitiatedError: a context is open, and ``force`` is not set.

    """
    if not force and is_context_initiated():
        raise ContextAlreadyInitiatedError
    return open_context()[1]


def is_context_initiated() -> bool:
    """Tell whether a context is open here; one that has ended does not count."""
    context = context_or_none()
    return context is not None and context.is_open


async def reset_db_session_ctx(
    token: Token[Context | None],
    with_close: bool = True,  # noqa: FBT001, FBT002 - published signature
) -> None:
    """Leave the context that ``init_db_session_ctx`` opened.

    Args:
        token: what ``init_db_session_ctx`` returned. It may be used from another task than it was made in.
        with_close: also close the sessions, rolling back what was not committed.

    """
    context = current.get()
    try:
        if context is not None:
            if with_close:
                await finish(context, commit=None)
            else:
                context.end()
    finally:
        leave_context(token)


def get_db_session_from_context(connect: DBConnect) -> AsyncSession | None:
    """Return the session that the context has for a connection, or None.

    Raises:
        ContextNotInitiatedError: no context is open.
        ContextClosedError: the context has ended.

    """
    return current_context().session(connect)


def put_db_session_to_context(connection: DBConnect, session: AsyncSession) -> None:
    """Give the context a session for a connection; the context finishes it.

    Raises:
        ContextNotInitiatedError: no context is open.
        ContextClosedError: the context has ended.

    """
    current_context().put(connection, session)


def pop_db_session_from_context(connect: DBConnect) -> AsyncSession | None:
    """Take the session of a connection out of the context; the caller finishes it.

    Returns:
        The session, or None if there is none, or no context.

    """
    context = context_or_none()
    return None if context is None else context.pop(connect)
