"""The rules by which contexts end: which status commits, the commit hooks, the time limit."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy._runtime.time_limit import TimeLimit

CommitRule = Callable[[int], bool]
BeforeCommitCallback = Callable[[AsyncSession], Coroutine[Any, Any, None]]
AfterCommitCallback = Callable[[AsyncSession], Coroutine[Any, Any, None]]
RouteOf = Callable[[Any], str]
"""Given a framework's request, return its route as ``adapter_kit.route_name`` makes it."""

DEFAULT_FINISH_TIMEOUT = 10.0
_FIRST_ERROR_STATUS = 400


def commits_below_400(status: int) -> bool:
    """Return whether a response with this HTTP status commits: the rule unless ``commit_on`` replaces it."""
    return status < _FIRST_ERROR_STATUS


class Ending(Protocol):
    """A context, as a shutdown sees it: it waits for the context's end."""

    @property
    def closed(self) -> asyncio.Future[None]:
        """Done once the context has ended."""
        ...


class Rules:
    """The rules by which contexts end, and the contexts that are open under them.

    Args:
        commit_on: given a status, whether it commits.
        before_commit: awaited with the session before each commit that the library makes; an exception
            prevents the commit.
        after_commit: awaited with the session after each such commit. The data is committed by then: an
            exception does not take it back, it only becomes the request's error.
        finish_timeout: seconds that a COMMIT, a ROLLBACK or a close may take before the connection is invalidated.
            It does not bound the wait for a connection, which ``pool_timeout`` bounds.
        tracks_contexts: keep the open contexts in ``live``, so that a shutdown can wait for them.
        route_of: given the request that a context was opened for, its route: the adapter's, not the user's.

    Raises:
        ValueError: the time limit is not positive.

    """

    def __init__(
        self,
        *,
        commit_on: CommitRule = commits_below_400,
        before_commit: BeforeCommitCallback | None = None,
        after_commit: AfterCommitCallback | None = None,
        finish_timeout: float = DEFAULT_FINISH_TIMEOUT,
        tracks_contexts: bool = True,
        route_of: RouteOf | None = None,
    ) -> None:
        if finish_timeout <= 0:
            raise ValueError(f"finish_timeout is in seconds and must be positive: got {finish_timeout!r}")
        self.commit_on = commit_on
        self.before_commit = before_commit
        self.after_commit = after_commit
        self.has_commit_hooks = before_commit is not None or after_commit is not None
        self.finish_timeout = finish_timeout
        self.commit_limit = TimeLimit(finish_timeout)
        self.tracks_contexts = tracks_contexts
        self.live: set[Ending] = set()
        self.route_of = route_of
