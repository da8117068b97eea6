"""The rules by which contexts end: which status commits, the commit hooks, the time limit."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy._redaction import kind_of
from context_async_sqlalchemy._runtime.time_limit import TimeLimit

from .checks import check_count, check_hook, check_seconds
from .route_names import DEFAULT_MAX_ROUTES, RouteOf, limited

CommitRule = Callable[[int], bool]
BeforeCommitCallback = Callable[[AsyncSession], Coroutine[Any, Any, None]]
AfterCommitCallback = Callable[[AsyncSession], Coroutine[Any, Any, None]]
DEFAULT_FINISH_TIMEOUT = 10.0
_FIRST_ERROR_STATUS = 400


def commits_below_400(status: int) -> bool:
    """Return whether a response with this HTTP status commits. ``commit_on`` may replace this rule."""
    return status < _FIRST_ERROR_STATUS


def _checked_rule(commit_on: CommitRule) -> CommitRule:
    if not callable(commit_on):
        raise TypeError(
            "commit_on is a function from a status to a bool, for example lambda status: status < 500: "
            f"got {kind_of(commit_on)}"
        )
    if inspect.iscoroutinefunction(commit_on):
        raise TypeError("commit_on must not be async, because a coroutine would count as true")
    return commit_on


class Ending(Protocol):
    """A context, as far as a shutdown needs it to wait for its end."""

    @property
    def closed(self) -> asyncio.Future[None]:
        """A future that is done once the context has ended."""
        ...


class Rules:
    """The rules by which contexts end, and the contexts that are open under them.

    Args:
        commit_on: returns whether a given status commits.
        before_commit: awaited with each session before the first COMMIT, whenever the library commits. An exception
            prevents the commit.
        after_commit: awaited with each session after the last COMMIT. An exception becomes the error of the request,
            and the data stays committed.
        finish_timeout: seconds that a COMMIT, a ROLLBACK or a close may take before the connection is invalidated.
            The ``after_commit`` hooks of one commit get as many seconds together. The wait for a connection is
            bounded by ``pool_timeout`` instead.
        tracks_contexts: keep the open contexts in ``live``, so that a shutdown can wait for them.
        route_of: returns the route of the request that a context was opened for. The adapter sets it.
        max_routes: the number of different routes that observers are told of.

    Attributes:
        has_connections: whether ``setup_db`` was given connections. A session of any other is reported then.

    Raises:
        TypeError: the rule or a hook is not callable, or a limit is not a number.
        ValueError: a limit is not positive.

    """

    has_connections = False

    def __init__(
        self,
        *,
        commit_on: CommitRule = commits_below_400,
        before_commit: BeforeCommitCallback | None = None,
        after_commit: AfterCommitCallback | None = None,
        finish_timeout: float = DEFAULT_FINISH_TIMEOUT,
        tracks_contexts: bool = True,
        route_of: RouteOf | None = None,
        max_routes: int = DEFAULT_MAX_ROUTES,
    ) -> None:
        check_seconds("finish_timeout", finish_timeout)
        check_count("max_routes", max_routes)
        check_hook("before_commit", before_commit)
        check_hook("after_commit", after_commit)
        self.commit_on = _checked_rule(commit_on)
        self.before_commit = before_commit
        self.after_commit = after_commit
        self.has_commit_hooks = before_commit is not None or after_commit is not None
        self.finish_timeout = finish_timeout
        self.commit_limit = TimeLimit(finish_timeout)
        self.tracks_contexts = tracks_contexts
        self.live: set[Ending] = set()
        self.route_of = None if route_of is None else limited(route_of, max_routes)
