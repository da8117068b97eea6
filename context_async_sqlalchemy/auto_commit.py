"""Functions that commit, roll back or close all sessions of the current context, for an application's middleware."""

from ._context.checks import check_hook
from ._context.current import current_context
from ._context.rules import AfterCommitCallback, BeforeCommitCallback
from ._finishing.close import close_if_idle, close_sessions, rollback_sessions
from ._finishing.commit import commit_sessions
from ._redaction import kind_of
from ._runtime.shield import run_to_end

__all__ = [
    "AfterCommitCallback",
    "BeforeCommitCallback",
    "auto_commit_by_status_code",
    "close_all_sessions",
    "commit_all_sessions",
    "rollback_all_sessions",
    "set_rollback",
]


def set_rollback(rollback: bool = True) -> None:  # noqa: FBT001, FBT002 - as Django's transaction.set_rollback
    """Make the current context end in a rollback, whatever the status is. Explicit commits still commit.

    Args:
        rollback: False undoes an earlier call.

    Raises:
        ContextNotInitiatedError: no context is open.
        ContextClosedError: the context has ended.

    """
    context = current_context()
    context.require_open()
    context.rollback_only = rollback


async def auto_commit_by_status_code(status_code: int, before_commit: BeforeCommitCallback | None = None) -> None:
    """Commit all sessions of the context if the status commits, otherwise roll them back.

    Args:
        status_code: the HTTP status of the response. A status below 400 commits unless ``commit_on`` replaces the rule.
        before_commit: awaited with each session before the first COMMIT.

    Raises:
        Exception: a hook, a flush or the first COMMIT raised it. Everything is rolled back.
        PartialCommitError: a later COMMIT failed.

    """
    _require_status(status_code)
    if current_context().rules.commit_on(status_code):
        await commit_all_sessions(before_commit)
    else:
        await rollback_all_sessions()


async def commit_all_sessions(before_commit: BeforeCommitCallback | None = None) -> None:
    """Commit all sessions in the order of the first ``db_session`` calls, or roll back after ``set_rollback()``.

    Args:
        before_commit: awaited with each session before the first COMMIT.

    Raises:
        Exception: a hook, a flush or the first COMMIT raised it. Everything is rolled back.
        PartialCommitError: a later COMMIT failed.

    """
    check_hook("before_commit", before_commit)
    context = current_context()
    if context.rollback_only:
        await rollback_all_sessions()
    elif work := context.transactions():
        await commit_sessions(context, work, before_commit)


async def rollback_all_sessions() -> None:
    """Roll back all sessions of the context."""
    context = current_context()
    if work := context.transactions():
        await run_to_end(rollback_sessions(context, work))


async def close_all_sessions() -> None:
    """Close all sessions of the context, which rolls back open transactions. The context stays open."""
    context = current_context()
    context.releasing = "close"
    try:
        for connect, session in list(context.sessions.items()):
            if not close_if_idle(session):
                await run_to_end(close_sessions(context, [(connect, session)]))
    finally:
        context.releasing = None


def _require_status(given: object) -> None:
    if not isinstance(given, int):
        raise TypeError(f"auto_commit_by_status_code takes the status of a response: got {kind_of(given)}")
