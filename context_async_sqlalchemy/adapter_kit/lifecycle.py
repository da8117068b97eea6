"""The life of one application: its options, the begin of observing, and the shutdown."""

import asyncio
import logging
from collections.abc import Iterable
from typing import TypedDict

from context_async_sqlalchemy._context.checks import check_seconds, check_switch
from context_async_sqlalchemy._context.route_names import DEFAULT_MAX_ROUTES, RouteOf
from context_async_sqlalchemy._context.rules import (
    DEFAULT_FINISH_TIMEOUT,
    AfterCommitCallback,
    BeforeCommitCallback,
    CommitRule,
    Rules,
    commits_below_400,
)
from context_async_sqlalchemy._observing.listeners import Listeners, Observation, notify
from context_async_sqlalchemy._plugins import inspector_at, installed_observers
from context_async_sqlalchemy._redaction import kind_of
from context_async_sqlalchemy.connect import DBConnect
from context_async_sqlalchemy.observer import Observer, Resource

from .metrics_access import MetricsAccess, checked_access
from .resources import resources_of
from .setup import unknown_option
from .start_check import check_connections

logger = logging.getLogger("context_async_sqlalchemy")

DEFAULT_DRAIN_TIMEOUT = 15.0


class LifecycleOptions(TypedDict, total=False):
    """The options of every ``setup_db``, which :func:`context_async_sqlalchemy.setup_db` documents."""

    commit_on: CommitRule
    before_commit: BeforeCommitCallback | None
    after_commit: AfterCommitCallback | None
    finish_timeout: float
    drain_timeout: float
    observers: Iterable[Observer] | None
    leak_threshold: float | None
    leak_stacks: bool
    max_routes: int
    metrics_access: MetricsAccess | None
    inspector_path: str | None
    check_at_start: bool
    processes: int | None
    answer_503: bool


class Lifecycle(Rules):
    """The options of one application, and its open contexts.

    Args:
        connections: the databases. A shutdown disposes of them after the last context has ended.
        commit_on: returns whether a given status commits.
        before_commit: awaited with each session before the first COMMIT, whenever the library commits. An exception
            prevents the commit.
        after_commit: awaited with each session after the last COMMIT. An exception becomes the error of the request,
            and the data stays committed.
        finish_timeout: seconds that a COMMIT, a ROLLBACK or a close may take before the connection is invalidated.
            The ``after_commit`` hooks of one commit get as many seconds together. The wait for a connection is
            bounded by ``pool_timeout`` instead.
        drain_timeout: seconds that a shutdown waits for open contexts before it disposes of the engines.
        observers: the observers of the connections. None means those that installed packages offer. ``()`` means no
            observers, and SQLAlchemy is left unchanged unless ``leak_threshold`` is set.
        leak_threshold: seconds that a connection may be held before a warning names its holder. None never warns.
        leak_stacks: also name in those warnings where the connection was checked out. Every checkout becomes slower,
            see docs/decisions/0013.
        max_routes: the number of different routes in metrics, spans and warnings. The rest count as ``other``.
        metrics_access: who may scrape: a bearer token, or a function of the request's headers. None lets everybody.
        inspector_path: the path of an inspector, which is one more observer. None adds none.
        check_at_start: open each connection once in ``start``, and compare the pools with the server's limits.
        processes: the number of processes that run the application, for that comparison. None means the number that
            the framework knows, or else the environment variable ``WEB_CONCURRENCY``, or else 1.
        answer_503: answer a ``PoolOverloadedError`` that reaches the framework by 503 with ``Retry-After``. The adapter
            answers.
        tracks_contexts: keep the open contexts, so that ``drain`` can wait for them.
        route_of: returns the route of the request that a context was opened for. The adapter sets it.
        unknown: refused.

    Raises:
        TypeError: an element of ``connections`` is not a DBConnect, one of ``observers`` is not an Observer, or an
            option is unknown or has the wrong type.
        ValueError: a connection is given twice, two have the same name, or an option has no possible value.

    """

    def __init__(
        self,
        connections: Iterable[DBConnect] = (),
        *,
        drain_timeout: float = DEFAULT_DRAIN_TIMEOUT,
        observers: Iterable[Observer] | None = None,
        leak_threshold: float | None = None,
        leak_stacks: bool = False,
        max_routes: int = DEFAULT_MAX_ROUTES,
        metrics_access: MetricsAccess | None = None,
        inspector_path: str | None = None,
        check_at_start: bool = False,
        processes: int | None = None,
        answer_503: bool = True,
        commit_on: CommitRule = commits_below_400,
        before_commit: BeforeCommitCallback | None = None,
        after_commit: AfterCommitCallback | None = None,
        finish_timeout: float = DEFAULT_FINISH_TIMEOUT,
        tracks_contexts: bool = True,
        route_of: RouteOf | None = None,
        **unknown: object,
    ) -> None:
        for name in unknown:
            raise unknown_option(name, [*LifecycleOptions.__annotations__, "metrics_path"])
        super().__init__(
            commit_on=commit_on,
            before_commit=before_commit,
            after_commit=after_commit,
            finish_timeout=finish_timeout,
            tracks_contexts=tracks_contexts,
            route_of=route_of,
            max_routes=max_routes,
        )
        check_seconds("drain_timeout", drain_timeout)
        if leak_threshold is not None:
            check_seconds("leak_threshold", leak_threshold)
        _check_processes(processes)
        check_switch("leak_stacks", leak_stacks)
        check_switch("check_at_start", check_at_start)
        check_switch("answer_503", answer_503)
        self.check_at_start = check_at_start
        self._processes = processes
        self._refuse_scrape = checked_access(metrics_access)
        self.connections = _checked(connections)
        self.observers = installed_observers() if observers is None else _checked_observers(observers)
        if inspector_path is not None:
            self.observers = (*self.observers, inspector_at(inspector_path))
        self.observation = Observation(self.observers, leak_threshold, leak_stacks)
        self.drain_timeout = drain_timeout
        self.has_connections = bool(self.connections)
        for connection in self.connections:
            connection.is_set_up = True
        self.answer_503 = answer_503
        self.start_observing()

    def start_observing(self) -> None:
        """Observe the connections, also again after a shutdown, because Sanic's test clients restart applications."""
        if self.observation.is_wanted:
            for connection in self.connections:
                connection.observe(self.observation)

    async def start(self, workers: int | None = None) -> None:
        """Observe the connections, and check them if asked to. An adapter calls this before the first request.

        Args:
            workers: the number of worker processes of the application, if the framework knows it.

        Raises:
            StartCheckError: a connection cannot be opened. All connections are disposed of.

        """
        self.start_observing()
        if self.check_at_start:
            try:
                await check_connections(self.connections, self._processes or workers)
            except BaseException:
                await self.shut_down()
                raise
        notify(Listeners([self.observation]).application_started)

    def resources(self, metrics_path: str | None) -> list[Resource]:
        """Return the resources that an adapter serves: the metrics, and those of the observers.

        Args:
            metrics_path: the path of the metrics, by default ``DEFAULT_METRICS_PATH``. None serves no metrics.

        Raises:
            ValueError: a path does not begin with a slash, or two resources have the same path. Several observers can
                be scraped, or none can although the ``metrics_path`` is not the default.

        """
        return resources_of(metrics_path, self.observers, self._refuse_scrape)

    def announce_workers(self, workers: int) -> None:
        """Notify the observers that worker processes will start. An adapter calls this in the main process.

        Args:
            workers: the number of the worker processes.

        """
        notify(Listeners([self.observation]).workers_starting, workers)

    async def shut_down(self) -> None:
        """Wait for the open contexts, then dispose of the engines. An adapter calls this when its application stops."""
        await self.drain(self.drain_timeout)
        await asyncio.gather(*(connection.close() for connection in self.connections))
        for connection in self.connections:
            connection.observe_no_more(self.observation)
        notify(Listeners([self.observation]).application_stopped)

    async def drain(self, timeout: float) -> int:  # noqa: ASYNC109
        """Wait until no context with a session is open, and return the number of contexts that are still open.

        A framework may start its cleanup while cancelled handlers are still rolling back. For example, aiohttp's
        ``Server.shutdown`` does not wait for the tasks that it cancels.

        Args:
            timeout: the longest wait in seconds.

        Returns:
            The number of contexts that are still open, which is also logged.

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


def _check_processes(given: object) -> None:
    message = "processes is the number of processes that run the application: got"
    if given is not None and (not isinstance(given, int) or isinstance(given, bool)):
        raise TypeError(f"{message} {kind_of(given)}")
    if given is not None and given < 1:
        raise ValueError(f"{message} {given}")


def _checked(connections: Iterable[object]) -> tuple[DBConnect, ...]:
    _require_list(connections, "setup_db takes a list of connections: setup_db(app, [connection])")
    checked = tuple(_connection(candidate) for candidate in connections)
    if len(set(checked)) < len(checked):
        raise ValueError("setup_db: the same connection is given twice; give each DBConnect once")
    # The name of the others is known only when their engines are made.
    names = [connection.name for connection in checked if connection.is_named]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"setup_db: two connections are called {name!r}, so metrics, spans and errors could not tell them "
                "apart: give each a name of its own, DBConnect.from_url(url, name=...)"
            )
    return checked


def _require_list(given: object, needed: str) -> None:
    if not isinstance(given, Iterable):
        raise TypeError(f"{needed}, and not {kind_of(given)}")


def _connection(candidate: object) -> DBConnect:
    if not isinstance(candidate, DBConnect):
        raise TypeError(
            f"setup_db takes DBConnect objects, got {kind_of(candidate)}: wrap an engine's URL by "
            "DBConnect.from_url(url), or factories by DBConnect(engine_creator, session_maker_creator, host)"
        )
    return candidate


def _checked_observers(observers: Iterable[object]) -> tuple[Observer, ...]:
    """Return the observers that ``setup_db`` was given.

    Raises:
        TypeError: one of them is not an Observer.

    """
    _require_list(observers, "observers is a list: observers=[observer]")
    checked: list[Observer] = []
    for candidate in observers:
        if not isinstance(candidate, Observer):
            raise TypeError(
                f"setup_db(observers=...) takes instances of context_async_sqlalchemy.observer.Observer, got "
                f"{kind_of(candidate)}: derive a class from it, and pass an instance"
            )
        checked.append(candidate)
    return tuple(checked)
