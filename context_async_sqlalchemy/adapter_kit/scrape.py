"""The parts of serving metrics that no framework changes: the path, who may scrape, and the answer."""

import asyncio
from collections.abc import Iterable

from context_async_sqlalchemy.observer import Exposition, Observer, exposition_of

from .metrics_access import Check, Headers, ScrapeAnswer
from .renderings import RENDERINGS

_BUSY = ScrapeAnswer(503, [("Retry-After", "1")], b"")


class _Default(str):
    """The default path, which the application has not passed."""

    __slots__ = ()


DEFAULT_METRICS_PATH: str = _Default("/metrics")
"""The default of ``metrics_path``: without an observer that can be scraped, nothing is served there."""


class Scrape:
    """The answers to the scrapes of one application.

    Args:
        path: the ``metrics_path``.
        exposition: the observer that renders the metrics.
        refuse: the check of who may scrape.

    Attributes:
        path: the ``metrics_path``.

    """

    def __init__(self, path: str, exposition: Exposition, refuse: Check) -> None:
        self.path = path
        self._exposition = exposition
        self._refuse = refuse

    async def answer(self, headers: Iterable[tuple[str, str]]) -> ScrapeAnswer:
        """Return status, headers and body of the answer to a GET or HEAD.

        Args:
            headers: the request's headers. A name may come several times, and in any case.

        """
        asked = _by_name(headers)
        refusal = self._refuse(asked)
        if refusal is not None:
            return refusal
        rendering = RENDERINGS.share(self._exposition, asked.get("accept", ""), asked.get("accept-encoding", ""))
        if rendering is None:
            return _BUSY
        return ScrapeAnswer(200, *await asyncio.wrap_future(rendering))


def scrape_at(path: str | None, observers: Iterable[Observer], refuse: Check) -> Scrape | None:
    """Return the scrape that is served at ``metrics_path``, or None.

    Args:
        path: the ``metrics_path``; None serves nothing.
        observers: the application's observers.
        refuse: the check of who may scrape.

    Raises:
        ValueError: the path does not begin with a slash, or several observers can be scraped, or none can although
            the path is not the default.

    """
    if path is None:
        return None
    if not path.startswith("/"):
        raise ValueError(f"metrics_path is the path of a route and begins with a slash: got {path!r}")
    exposition = exposition_of(observers)
    if exposition is not None:
        return Scrape(path, exposition, refuse)
    if isinstance(path, _Default):
        return None
    raise ValueError(
        f"setup_db was given metrics_path={path!r}, but no observer can be scraped, so the path would not exist. "
        "Install prometheus-client: pip install 'context-async-sqlalchemy[prometheus]'. If you pass observers=, add "
        "a PrometheusObserver to them. To serve no metrics, pass metrics_path=None"
    )


def path_taken(path: str, rival: str) -> RuntimeError:
    """Return the error for a ``metrics_path`` at which the application has a route already.

    Args:
        path: the ``metrics_path``.
        rival: how the framework shows the application's route.

    """
    return RuntimeError(
        f"setup_db serves metrics at {path}, but the application has a route there too ({rival}), and only one of them "
        "would be reached: give setup_db another metrics_path, or metrics_path=None and serve "
        "the observer's expose() yourself"
    )


def _by_name(headers: Iterable[tuple[str, str]]) -> Headers:
    by_name: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        by_name[key] = f"{by_name[key]}, {value}" if key in by_name else value
    return by_name
