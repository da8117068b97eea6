"""Committing sessions one after another; when one fails, it and those after it are rolled back."""

from collections.abc import Awaitable
from typing import NoReturn

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy._context.context import Context, Work
from context_async_sqlalchemy._context.context_session import ContextSession
from context_async_sqlalchemy._context.rules import BeforeCommitCallback
from context_async_sqlalchemy._runtime.shield import Completion, run_to_end
from context_async_sqlalchemy.exceptions import CommitTimeoutError, PartialCommitError

from .close import roll_back_after

_PLAIN_COMMITS = (ContextSession.commit, AsyncSession.commit)


def commit_sessions(context: Context, work: Work, before_commit: BeforeCommitCallback | None = None) -> Awaitable[None]:
    """Commit sessions one after another, to the end; when one fails, roll it and those after it back.

    Args:
        context: whose sessions they are.
        work: the sessions, in order.
        before_commit: in place of the application's own.

    Raises:
        Exception: see :func:`finish`.

    """
    completion = Completion()
    before_commit = before_commit or context.rules.before_commit
    commits = _commit_each(completion, context, work, before_commit)
    if before_commit is not None or context.rules.has_commit_hooks:
        return completion.run_in_task(commits)
    for _, session in work:
        # An application's own class may use asyncio.timeout; a stand-in may do anything.
        if getattr(type(session), "commit", None) not in _PLAIN_COMMITS:
            return completion.run_in_task(commits)
    return completion.run(commits)


async def _commit_each(
    completion: Completion, context: Context, work: Work, before_commit: BeforeCommitCallback | None
) -> None:
    rules = context.rules
    if rules.has_commit_hooks:
        context.adopt_finisher()
    for position, (_, session) in enumerate(work):
        completion.is_interrupted = has_begun = False
        rules.commit_watch.enter(completion)
        try:
            if before_commit is not None:
                await before_commit(session)
            has_begun = True
            await session.commit()
            context.note_commit()
            if rules.after_commit is not None:
                await rules.after_commit(session)
                if session.in_transaction():
                    # The hook has used the session: end its transaction too, or it would keep the connection.
                    await session.commit()
        except BaseException as failure:  # noqa: BLE001 - raised there
            rules.commit_watch.leave(completion)
            if has_begun:
                note_unless_refused(context, failure)
            await roll_back_and_raise(completion, context, work, position, failure)
        rules.commit_watch.leave(completion)


def note_unless_refused(context: Context, failure: BaseException) -> None:
    """Take down that a COMMIT may have taken effect, unless the server has answered."""
    if not isinstance(failure, DBAPIError) or failure.connection_invalidated:
        context.note_commit()


async def roll_back_and_raise(
    completion: Completion, context: Context, work: Work, position: int, failure: BaseException
) -> NoReturn:
    """Roll back the session whose commit has failed, and those after it; raise what the application is told."""
    rules = context.rules
    names = [connect.name for connect, _ in work]
    error = CommitTimeoutError(names[position], rules.finish_timeout) if completion.is_interrupted else failure
    await run_to_end(roll_back_after(failure, rules, work[position:]))
    if position > 0:
        raise PartialCommitError(names[:position], names[position], names[position + 1 :]) from error
    if error is failure:
        raise failure
    raise error from failure
