"""The parts of serving metrics that no framework changes: the observer, the rendering, and an error message."""

import asyncio
from collections.abc import Iterable, Sequence

from context_async_sqlalchemy.observer import Exposition, Observer, exposition_of


def exposition_at(path: str | None, observers: Iterable[Observer]) -> Exposition | None:
    """Return the observer that is served at ``metrics_path``, or None.

    Args:
        path: the ``metrics_path``; None serves no observer.
        observers: the application's observers.

    Raises:
        ValueError: the path does not begin with a slash, or several observers can be scraped.

    """
    if path is None:
        return None
    if not path.startswith("/"):
        raise ValueError(f"metrics_path is the path of a route and begins with a slash: got {path!r}")
    return exposition_of(observers)


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


async def rendered(
    exposition: Exposition, accept: str, accept_encoding: str
) -> tuple[Sequence[tuple[str, str]], bytes]:
    """Return the headers and the body of the answer to a scrape.

    Args:
        exposition: the observer that renders.
        accept: the request's Accept header.
        accept_encoding: the request's Accept-Encoding header.

    """
    # A thread renders, because the metrics of many routes take so long that other requests would wait.
    return await asyncio.to_thread(exposition.expose, accept, accept_encoding)
