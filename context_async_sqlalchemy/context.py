"""Functions that open and end a context by hand, for an application's own middleware, worker loop or test."""

from contextvars import Token

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ._context.checks import require_connection
from ._context.context import Context
from ._context.current import context_or_none, current, current_context, leave_context, open_context
from ._finishing.finish import finish
from ._redaction import kind_of
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
    """Open a context and return the token that ends it.

    Args:
        force: open a nested context if a context is already open.

    Returns:
        The token for :func:`reset_db_session_ctx`.

    Raises:
        ContextAlreadyInitiatedError: a context is open, and ``force`` is false.

    """
    if not force and is_context_initiated():
        raise ContextAlreadyInitiatedError
    return open_context()[1]


def is_context_initiated() -> bool:
    """Return whether a context is open here. A context that has ended does not count."""
    context = context_or_none()
    return context is not None and context.is_open


async def reset_db_session_ctx(
    token: Token[Context | None],
    with_close: bool = True,  # noqa: FBT001, FBT002 - published signature
) -> None:
    """End the context that ``init_db_session_ctx`` opened, and make the previous context current again.

    Args:
        token: the result of ``init_db_session_ctx``. Any task may use it.
        with_close: close the sessions too, which rolls back transactions that are still open.

    """
    _require_token(token)
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
    """Return the context's session for a database, or None.

    Raises:
        ContextNotInitiatedError: no context is open.
        ContextClosedError: the context has ended.

    """
    session = current_context().session(connect)
    if session is None:
        require_connection(connect)
    return session


def put_db_session_to_context(connection: DBConnect, session: AsyncSession) -> None:
    """Add a session to the context. The end of the context commits or rolls back the session, and closes it.

    Raises:
        ContextNotInitiatedError: no context is open.
        ContextClosedError: the context has ended.

    """
    require_connection(connection)
    _require_session(session)
    current_context().put(connection, session)


def pop_db_session_from_context(connect: DBConnect) -> AsyncSession | None:
    """Remove a database's session from the context and return it. The caller commits or rolls back, and closes it.

    Returns:
        The session, or None if the context has no session for the database, or if there is no context.

    """
    context = context_or_none()
    require_connection(connect)
    return None if context is None else context.pop(connect)


def _require_session(given: object) -> None:
    # Not isinstance(), because it may be a mock in a test.
    if isinstance(given, Session) or not hasattr(given, "in_transaction"):
        raise TypeError(f"put_db_session_to_context takes an AsyncSession: got {kind_of(given)}")


def _require_token(given: object) -> None:
    if not isinstance(given, Token):
        raise TypeError(f"reset_db_session_ctx takes the token that init_db_session_ctx returned: got {kind_of(given)}")
