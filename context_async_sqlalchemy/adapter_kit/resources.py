"""What an application serves for its observers: the metrics, and each observer's own resources."""

import asyncio
from collections.abc import Iterable, Iterator

from context_async_sqlalchemy._redaction import kind_of
from context_async_sqlalchemy.observer import (
    Exposition,
    Observer,
    Resource,
    ResourceAnswer,
    ResourceRequest,
    exposition_of,
)

from .metrics_access import Check
from .renderings import RENDERINGS

_BUSY = ResourceAnswer(503, [("Retry-After", "1")], b"")
_METRICS_PATH = "metrics_path"
# Frameworks write a variable part as {name} or <name>. A client never sends what stands behind ? or #.
_NO_PART_OF_A_PATH = frozenset("{}<>?# ")


class _Default(str):
    """The default path, which the application has not passed."""

    __slots__ = ()


DEFAULT_METRICS_PATH: str = _Default("/metrics")
"""The default of ``metrics_path``: without an observer that can be scraped, nothing is served there."""


def resources_of(metrics_path: str | None, observers: Iterable[Observer], refuse: Check) -> list[Resource]:
    """Return the resources that an application serves.

    Args:
        metrics_path: the path of the metrics; None serves none.
        observers: the application's observers.
        refuse: the check of who may scrape.

    Raises:
        TypeError: a path is not a string.
        ValueError: a path does not begin with a slash, or has a character that no single path has. Two resources have
            the same path. Several observers can be scraped, or none can although the ``metrics_path`` is not the
            default.

    """
    every = list(observers)
    resources = [*_metrics(metrics_path, every, refuse), *(each for one in every for each in one.resources())]
    options: dict[str, str] = {}
    for resource in resources:
        _require_path(resource.option, resource.path)
        if resource.path in options:
            raise ValueError(
                f"{options[resource.path]} and {resource.option} are both {resource.path!r}, and only one of them "
                "would be reached: give one of them another path"
            )
        options[resource.path] = resource.option
    return resources


def _metrics(path: str | None, observers: Iterable[Observer], refuse: Check) -> Iterator[Resource]:
    if path is None:
        return
    _require_path(_METRICS_PATH, path)
    exposition = exposition_of(observers)
    if exposition is not None:
        yield Resource(path, _Scrape(exposition, refuse).answer, "metrics", _METRICS_PATH)
    elif not isinstance(path, _Default):
        raise ValueError(
            f"setup_db was given metrics_path={path!r}, but no observer can be scraped, so the path would not exist. "
            "If prometheus-client is missing: pip install prometheus-client. If you pass observers=, add a "
            "PrometheusObserver to them. To serve no metrics, pass metrics_path=None"
        )


class _Scrape:
    def __init__(self, exposition: Exposition, refuse: Check) -> None:
        self._exposition = exposition
        self._refuse = refuse
        self._ready = 0

    async def answer(self, request: ResourceRequest) -> ResourceAnswer:
        headers = request.headers
        refusal = self._refuse(headers)
        if refusal is not None:
            return refusal
        rendering = RENDERINGS.share(self._exposition, headers.get("accept", ""), headers.get("accept-encoding", ""))
        if rendering is None:
            return _BUSY
        answer = ResourceAnswer(200, *await asyncio.wrap_future(rendering))
        await self._take_turns()
        return answer

    async def _take_turns(self) -> None:
        """Let one answer go in each turn of the event loop.

        Scrapes that share a rendering are all told of it in the same turn. Each sends some megabytes, so dozens in one
        turn would stop the loop for a quarter of a second.
        """
        self._ready += 1
        try:
            for _ in range(self._ready):
                await asyncio.sleep(0)
        finally:
            self._ready -= 1


def path_taken(resource: Resource, rival: str) -> RuntimeError:
    """Return the error for a resource at whose path the application has a route already.

    Args:
        resource: the resource.
        rival: how the framework shows the application's route.

    """
    otherwise = ", or metrics_path=None and serve the observer's expose() yourself"
    return RuntimeError(
        f"setup_db serves {resource.content} at {resource.path}, but the application has a route there too ({rival}), "
        f"and only one of them would be reached: choose another {resource.option}"
        f"{otherwise if resource.option == _METRICS_PATH else ''}"
    )


def _require_path(option: str, path: object) -> None:
    if not isinstance(path, str):
        raise TypeError(f"{option} is the path of a route, or None: got {kind_of(path)}")
    if not path.startswith("/"):
        raise ValueError(f"{option} is the path of a route and begins with a slash: got {path!r}")
    wrong = next((each for each in path if each in _NO_PART_OF_A_PATH or not each.isprintable()), None)
    if wrong is not None:
        raise ValueError(
            f"{option} is one path, without a variable part, a query, a space or a control character: got {path!r}, "
            f"which has {wrong!r}"
        )
