"""Async SQLAlchemy sessions for requests, jobs and messages, which the library commits or rolls back, and closes."""

from typing import Any

from ._plugins import published_name
from ._setup import setup_db
from .auto_commit import (
    AfterCommitCallback,
    BeforeCommitCallback,
    auto_commit_by_status_code,
    close_all_sessions,
    commit_all_sessions,
    rollback_all_sessions,
    set_rollback,
)
from .connect import DBConnect
from .context import (
    get_db_session_from_context,
    init_db_session_ctx,
    is_context_initiated,
    pop_db_session_from_context,
    put_db_session_to_context,
    reset_db_session_ctx,
)
from .exceptions import (
    CommitTimeoutError,
    ContextAlreadyInitiatedError,
    ContextClosedError,
    ContextNotInitiatedError,
    FailedTransactionError,
    PartialCommitError,
    PoolOverloadedError,
    StartCheckError,
)
from .retry import Retry, is_retryable, retried
from .run_in_new_context import db_context, run_in_new_ctx
from .session import (
    atomic_db_session,
    close_db_session,
    commit_db_session,
    db_session,
    new_non_ctx_atomic_session,
    new_non_ctx_session,
    rollback_db_session,
)

__all__ = [
    "ASGIHTTPDBSessionMiddleware",
    "AfterCommitCallback",
    "BeforeCommitCallback",
    "CommitTimeoutError",
    "ContextAlreadyInitiatedError",
    "ContextClosedError",
    "ContextNotInitiatedError",
    "DBConnect",
    "FailedTransactionError",
    "PartialCommitError",
    "PoolOverloadedError",
    "Retry",
    "StartCheckError",
    "atomic_db_session",
    "auto_commit_by_status_code",
    "close_all_sessions",
    "close_db_session",
    "commit_all_sessions",
    "commit_db_session",
    "db_context",
    "db_session",
    "get_db_session_from_context",
    "init_db_session_ctx",
    "is_context_initiated",
    "is_retryable",
    "new_non_ctx_atomic_session",
    "new_non_ctx_session",
    "pop_db_session_from_context",
    "put_db_session_to_context",
    "reset_db_session_ctx",
    "retried",
    "rollback_all_sessions",
    "rollback_db_session",
    "run_in_new_ctx",
    "set_rollback",
    "setup_db",
]

ASGIHTTPDBSessionMiddleware: Any


def __getattr__(name: str) -> Any:
    return published_name(__name__, __all__, name)
