"""A context opened by hand: for a middleware, a worker loop or a test of one's own."""

from ._context.context import (
    Context,
    get_db_session_from_context,
    init_db_session_ctx,
    is_context_initiated,
    open_context,
    pop_db_session_from_context,
    put_db_session_to_context,
    reset_db_session_ctx,
)
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
