"""What every adapter needs to serve metrics: the observer, the answer, and what is said of a path that is taken."""

import asyncio
from collections.abc import Iterable, Sequence

from context_async_sqlalchemy.observer import Exposition, Observer, exposition_of


def exposition_at(path: str | None, observers: Iterable[Observer]) -> Exposition | None:
    """Find the observer that is to be served, if there is one.

    Args:
        path: where it is to be served; None for nowhere.
        observers: those of the application.

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
    """Render a scrape, given the request's headers of these names."""
    # In a thread: rendering some hundred routes takes some ten milliseconds, for which other requests would wait.
    return await asyncio.to_thread(exposition.expose, accept, accept_encoding)
