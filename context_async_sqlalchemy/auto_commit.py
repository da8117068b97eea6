"""Commit or rollback of all sessions of the current context: for a middleware of one's own."""

from ._context.current import current_context
from ._context.rules import AfterCommitCallback, BeforeCommitCallback
from ._finishing.close import close_if_idle, close_sessions, rollback_sessions
from ._finishing.commit import commit_sessions
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
    """Make the current context end in a rollback, whatever the response's status; explicit commits still commit.

    Args:
        rollback: False takes an earlier call back.

    Raises:
        ContextNotInitiatedError: no context is open.
        ContextClosedError: the context has ended.

    """
    context = current_context()
    context.require_open()
    context.rollback_only = rollback


async def auto_commit_by_status_code(status_code: int, before_commit: BeforeCommitCallback | None = None) -> None:
    """Commit all sessions of the context if the status says so, else roll them back.

    Args:
        status_code: the HTTP status of the response; below 400 commits, unless ``commit_on`` says otherwise.
        before_commit: awaited with each session before its commit.

    Raises:
        Exception: what the first failing commit raised; see ``PartialCommitError``.

    """
    if current_context().rules.commit_on(status_code):
        await commit_all_sessions(before_commit)
    else:
        await rollback_all_sessions()


async def commit_all_sessions(before_commit: BeforeCommitCallback | None = None) -> None:
    """Commit all sessions of the context, in the order of their first use; with ``set_rollback()``, roll back.

    Args:
        before_commit: awaited with each session before its commit.

    Raises:
        Exception: what the first failing commit raised; see ``PartialCommitError``.

    """
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
    """Close all sessions of the context, rolling back what is open; the context stays open."""
    context = current_context()
    context.releasing = "close"
    try:
        for connect, session in list(context.sessions.items()):
            if not close_if_idle(session):
                await run_to_end(close_sessions(context, [(connect, session)]))
    finally:
        context.releasing = None
