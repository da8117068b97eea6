"""The observer that serves the inspector."""

import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from context_async_sqlalchemy.adapter_kit import kind_of
from context_async_sqlalchemy.observer import (
    Checkout,
    ContextRecord,
    EarlyRelease,
    FailedAttempt,
    FailedCheckout,
    ObservedPool,
    Observer,
    Resource,
    ResourceAnswer,
    ResourceRequest,
)

from .access import LOG_IN, Access, answer, gate, is_foreign, is_navigation, refusal
from .blockers import Blockers
from .collector import Collector
from .files import File, files_of_page, index
from .state import VERSION, worker_state
from .workers import Workers

DEFAULT_PATH = "/_db"
_CONTENT = "the inspector"
_NOT_IN_PATHS = frozenset("{}<>?#")
"""Characters that frameworks read as a variable part of a path, or a browser as the end of a path."""
_FRESH = 0.25
"""Seconds for which a state is given to other visitors too."""


class Inspector(Observer):
    """Serves a page with the pools and sessions of this process.

    While no visitor looks, the inspector follows the open sessions, with at most 50 checkouts of each, and keeps
    the last finished ones that were worth a look. These are at most 100 parts each, so ``keep=100`` takes 2 MB at
    most. While a visitor looks, it also keeps the sums of five minutes: at most 200 routes in each of 30 parts, 3 MB.

    Args:
        path: the path of the page. ``state.json`` and the page's files are below it.
        access: a function of the request's headers, with names in lower case, that returns ``"all"``,
            ``"read-only"`` or ``"none"``. The default is a token, which is logged when the application starts.
        token: the token, in place of one that is made at the start.
        slow: seconds from a session's first checkout to its end from which it is kept as a slow one.
        keep: how many finished sessions are kept.
        blockers: whether to show which sessions wait for a lock, and for whom. The inspector then asks PostgreSQL
            at most once a second while a visitor looks, over a connection of its own, and not of the pool.
        workers_directory: where the processes of a service meet, so that each shows all of them. The folder must belong
            to the user of the process, with mode 0700. It is made if there is none. By default the workers of a
            gunicorn, uvicorn, hypercorn or Sanic meet in a folder of their own.

    Raises:
        TypeError: ``access`` is not a function, or is asynchronous. Another argument has the wrong type.
        ValueError: both ``access`` and ``token`` are given, or an argument has no possible value.

    """

    def __init__(
        self,
        path: str = DEFAULT_PATH,
        *,
        access: Callable[[Mapping[str, str]], Access | None] | None = None,
        token: str | None = None,
        slow: float = 1.0,
        keep: int = 100,
        blockers: bool = False,
        workers_directory: str | PathLike[str] | None = None,
    ) -> None:
        _require("path", path, str, f"a str like {DEFAULT_PATH!r}")
        _require("token", token, str | None, "a str")
        _require("slow", slow, int | float, "a number of seconds")
        _require("keep", keep, int, "a whole number")
        _require("workers_directory", workers_directory, str | PathLike | None, "the path of a folder")
        _require("blockers", blockers, bool, "True or False")
        if not path.startswith("/") or path.endswith("/"):
            raise ValueError(
                f"the path of the inspector begins with a slash and ends without one, like {DEFAULT_PATH!r}: "
                f"got {path!r}"
            )
        if not path.isprintable() or set(path) & _NOT_IN_PATHS:
            raise ValueError(
                "the path of the inspector has no variable part, so none of {}<>?# and no control character: "
                f"got {path!r}"
            )
        self._path = path
        self._workers = workers = Workers(
            self.worker, path, None if workers_directory is None else Path(workers_directory)
        )
        self._gate = gate(access, token, path, workers.token)
        if not slow > 0 or keep < 1:
            raise ValueError(
                f"slow is in seconds and keep is a number, and both are positive: got {slow!r} and {keep!r}"
            )
        self._collector = collector = Collector(keep, slow)
        self._blockers = Blockers(collector) if blockers else None
        self._answered_at = 0.0
        self._worker: dict[str, object] = {}

    def resources(self) -> Iterable[Resource]:
        """Return the page, its files and the state."""
        yield self._resource("", self._page)
        yield self._resource("/", self._page)
        yield self._resource(LOG_IN, self._log_in)
        yield self._resource("/state.json", self._guarded(self._state))
        for name, file in files_of_page().items():
            yield self._resource(f"/{name}", self._guarded(_sender_of(file)))

    def _resource(self, below: str, answers: Callable[[ResourceRequest], Awaitable[ResourceAnswer]]) -> Resource:
        return Resource(self._path + below, answers, _CONTENT, "inspector_path")

    async def _page(self, request: ResourceRequest) -> ResourceAnswer:
        if not _may_open(request):
            return _foreign()
        logged_in = self._gate.log_in(request)
        if logged_in is not None:
            return logged_in
        if self._gate.access_of(request) == "none":
            return refusal(self._gate.advice)
        return _send(index(request.path))

    async def _log_in(self, request: ResourceRequest) -> ResourceAnswer:
        return self._gate.give_cookie(request) if _may_open(request) else _foreign()

    def _guarded(
        self, answers: Callable[[Access], Awaitable[ResourceAnswer]]
    ) -> Callable[[ResourceRequest], Awaitable[ResourceAnswer]]:
        async def guarded(request: ResourceRequest) -> ResourceAnswer:
            if is_foreign(request.headers):
                return _foreign()
            access = self._gate.access_of(request)
            return refusal(self._gate.advice) if access == "none" else await answers(access)

        return guarded

    async def _state(self, access: Access) -> ResourceAnswer:
        # The application may have been started without its start event.
        self._workers.start()
        state = {
            "version": VERSION,
            "now": time.time(),
            "access": access,
            "workers": [self.worker(), *await self._workers.others()],
            "note": self._workers.note,
        }
        return answer(200, [("Content-Type", "application/json")], json.dumps(state).encode())

    def worker(self) -> dict[str, object]:
        """Return the state of this process. Several visitors within a quarter of a second get the same."""
        now = time.monotonic()
        if not self._worker or now - self._answered_at >= _FRESH:
            blocked = None if self._blockers is None else self._blockers.known()
            self._worker, self._answered_at = worker_state(self._collector, blocked), now
        return self._worker

    def application_started(self) -> None:
        """Answer the other workers from now on."""
        self._workers.start()

    def application_stopped(self) -> None:
        """Answer the other workers no longer."""
        self._workers.stop()

    def pool_observed(self, pool: ObservedPool) -> None:
        """Show a pool from now on."""
        self._collector.pool_observed(pool)

    def pool_forgotten(self, pool: ObservedPool) -> None:
        """Show a pool no longer."""
        self._collector.pool_forgotten(pool)
        if self._blockers is not None:
            self._blockers.forget(pool)

    def context_began(self, context: ContextRecord) -> None:
        """Follow a session."""
        self._collector.began(context)

    def context_ended(self, context: ContextRecord) -> None:
        """Follow a session no longer. Keep it if it is worth a look."""
        self._collector.ended(context)

    def checkout_ended(self, checkout: Checkout) -> None:
        """Count a checkout."""
        self._collector.checkout_ended(checkout)

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Keep a failed wait."""
        self._collector.checkout_failed(failure)

    def early_release_ended(self, release: EarlyRelease) -> None:
        """Count what was given back."""
        self._collector.early_release_ended(release)

    def retried(self, attempt: FailedAttempt) -> None:
        """Count a retry."""
        self._collector.retried(attempt.context)


def _require(option: str, given: object, kinds: Any, expected: str) -> None:
    # A bool is no number here, though it is an int.
    if not isinstance(given, kinds) or (isinstance(given, bool) and kinds is not bool):
        raise TypeError(f"{option} of the inspector is {expected}: got {kind_of(given)}")


def _may_open(request: ResourceRequest) -> bool:
    return not is_foreign(request.headers) or is_navigation(request.headers)


def _foreign() -> ResourceAnswer:
    return refusal("Another site may not ask for this.")


def _sender_of(file: File) -> Callable[[Access], Awaitable[ResourceAnswer]]:
    async def sender(_access: Access) -> ResourceAnswer:
        return _send(file)

    return sender


def _send(file: File) -> ResourceAnswer:
    return answer(200, [("Content-Type", file.content_type)], file.body)
