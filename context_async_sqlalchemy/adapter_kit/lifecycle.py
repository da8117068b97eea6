"""How the contexts of one application end: the rule, the hooks, the time limits; and which are still open."""

import asyncio
import logging
from collections.abc import Iterable
from typing import TypedDict

from context_async_sqlalchemy._context.rules import (
    DEFAULT_FINISH_TIMEOUT,
    AfterCommitCallback,
    BeforeCommitCallback,
    CommitRule,
    RouteOf,
    Rules,
    commits_below_400,
)
from context_async_sqlalchemy._observing.listeners import Listeners, Observation, notify
from context_async_sqlalchemy._plugins import installed_observers
from context_async_sqlalchemy.connect import DBConnect
from context_async_sqlalchemy.observer import Observer

logger = logging.getLogger("context_async_sqlalchemy")

DEFAULT_DRAIN_TIMEOUT = 15.0


class LifecycleOptions(TypedDict, total=False):
    """The options of every framework's ``setup_db``; :func:`context_async_sqlalchemy.setup_db` documents them."""

    commit_on: CommitRule
    before_commit: BeforeCommitCallback | None
    after_commit: AfterCommitCallback | None
    finish_timeout: float
    drain_timeout: float
    observers: Iterable[Observer] | None
    leak_threshold: float | None
    leak_stacks: bool


class Lifecycle(Rules):
    """What ``setup_db`` was told, and the contexts that are open under it.

    Args:
        connections: disposed of at shutdown, after the last context has ended.
        commit_on: given a status, whether it commits.
        before_commit: awaited with the session before each commit that the library makes; an exception
            prevents the commit.
        after_commit: awaited with the session after each such commit. The data is committed by then: an
            exception does not take it back, it only becomes the request's error.
        finish_timeout: seconds that a COMMIT, a ROLLBACK or a close may take before the connection is invalidated.
            It does not bound the wait for a connection, which ``pool_timeout`` bounds.
        drain_timeout: seconds that shutdown waits for open contexts before the engines are disposed of.
        observers: told what happens on the connections; None for those that installed packages offer, ``()`` for
            nobody: then SQLAlchemy is left as it is.
        leak_threshold: seconds that a connection may be held before a warning names its holder; None for never.
        leak_stacks: remember where each connection was taken, for those warnings; costs about 5 us a transaction.
        tracks_contexts: keep the open contexts, so that ``drain`` can wait for them.
        route_of: given the request that a context was opened for, its route: the adapter's, not the user's.

    Raises:
        TypeError: an element of ``connections`` is no DBConnect, or one of ``observers`` no Observer.
        ValueError: a connection is given twice, or a time limit is not positive.

    """

    def __init__(
        self,
        connections: Iterable[DBConnect] = (),
        *,
        drain_timeout: float = DEFAULT_DRAIN_TIMEOUT,
        observers: Iterable[Observer] | None = None,
        leak_threshold: float | None = None,
        leak_stacks: bool = False,
        commit_on: CommitRule = commits_below_400,
        before_commit: BeforeCommitCallback | None = None,
        after_commit: AfterCommitCallback | None = None,
        finish_timeout: float = DEFAULT_FINISH_TIMEOUT,
        tracks_contexts: bool = True,
        route_of: RouteOf | None = None,
    ) -> None:
        super().__init__(
            commit_on=commit_on,
            before_commit=before_commit,
            after_commit=after_commit,
            finish_timeout=finish_timeout,
            tracks_contexts=tracks_contexts,
            route_of=route_of,
        )
        if drain_timeout <= 0:
            raise ValueError(f"drain_timeout is in seconds and must be positive: got {drain_timeout!r}")
        if leak_threshold is not None and leak_threshold <= 0:
            raise ValueError(f"leak_threshold is in seconds and must be positive: got {leak_threshold!r}")
        self.connections = _checked(connections)
        self.observers = installed_observers() if observers is None else _checked_observers(observers)
        self.observation = Observation(self.observers, leak_threshold, leak_stacks)
        self.drain_timeout = drain_timeout
        self.start_observing()

    def start_observing(self) -> None:
        """Observe the connections, again if the application was stopped before: Sanic's test clients restart one."""
        if self.observation.is_wanted:
            for connection in self.connections:
                connection.observe(self.observation)

    def announce_workers(self) -> None:
        """Tell the observers that worker processes are about to start: what an adapter does in the main process."""
        notify(Listeners([self.observation]).workers_starting)

    async def shut_down(self) -> None:
        """Wait for the open contexts, then dispose of the engines: what an adapter does when its app stops."""
        await self.drain(self.drain_timeout)
        await asyncio.gather(*(connection.close() for connection in self.connections))
        for connection in self.connections:
            connection.observe_no_more(self.observation)

    async def drain(self, timeout: float) -> int:  # noqa: ASYNC109
        """Wait until no context that has a session is open.

        A framework may start its cleanup while cancelled handlers are still rolling back
        (aiohttp's ``Server.shutdown`` does not wait for the tasks it cancels).

        Args:
            timeout: seconds to wait at most.

        Returns:
            How many contexts are open still; they are logged.

        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while self.live and (left := deadline - loop.time()) > 0:
            await asyncio.wait([context.closed for context in self.live], timeout=left)
        if self.live:
            logger.error(
                "shutdown: %d database context(s) still open after %g s; their engines are disposed of now. "
                "A handler that ignores its cancellation, or one that needs more than drain_timeout",
                len(self.live),
                timeout,
            )
        return len(self.live)


def _checked(connections: Iterable[object]) -> tuple[DBConnect, ...]:
    if isinstance(connections, DBConnect):
        raise TypeError("setup_db takes a list of connections: setup_db(app, [connection])")
    checked = tuple(_connection(candidate) for candidate in connections)
    if len(set(checked)) < len(checked):
        raise ValueError("setup_db: the same connection is given twice; give each DBConnect once")
    return checked


def _connection(candidate: object) -> DBConnect:
    if not isinstance(candidate, DBConnect):
        raise TypeError(
            f"setup_db takes DBConnect objects, got {candidate!r}: wrap an engine's URL by "
            "DBConnect.from_url(url), or factories by DBConnect(engine_creator, session_maker_creator, host)"
        )
    return candidate


def _checked_observers(observers: Iterable[object]) -> tuple[Observer, ...]:
    """Return the observers that ``setup_db`` was given.

    Raises:
        TypeError: one of them is none.

    """
    checked: list[Observer] = []
    for candidate in observers:
        if not isinstance(candidate, Observer):
            raise TypeError(
                f"setup_db(observers=...) takes instances of context_async_sqlalchemy.observer.Observer, got "
                f"{candidate!r}: derive a class from it, and pass an instance"
            )
        checked.append(candidate)
    return tuple(checked)
