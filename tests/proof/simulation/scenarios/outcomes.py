"""What an error tells a caller of its rows."""

import asyncio

from sqlalchemy.exc import DBAPIError

from context_async_sqlalchemy import CommitTimeoutError, PartialCommitError
from tests.proof.simulation.ledger import Told


def told(error: BaseException | None) -> Told:
    """Return what an error tells the caller of the rows."""
    if error is None:
        return "success"
    if isinstance(error, asyncio.CancelledError | CommitTimeoutError | PartialCommitError):
        return "unknown"
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return "unknown" if is_lost or isinstance(error, OSError) else "failure"


def came_of_cancellation(error: BaseException | None) -> bool:
    """Return whether an error was raised while a cancellation was being handled, and so replaced it."""
    while error is not None:
        if isinstance(error, asyncio.CancelledError):
            return True
        error = error.__context__
    return False
