"""Serving metrics from an ASGI application: the answer, and what is said of a path that is taken."""

import asyncio
from collections.abc import Iterable, Sequence

from context_async_sqlalchemy.observer import Exposition, Observer, exposition_of

from .protocol import Receive, Scope, Send

ROUTE_NAME = "context_async_sqlalchemy_metrics"
METHODS = ("GET", "HEAD")


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


def path_taken(path: str, rival: object) -> RuntimeError:
    """Make the error that says that a route stands where metrics are to be served."""
    return RuntimeError(
        f"setup_db serves metrics at {path}, but the application has {rival!r} there too, and only one of them "
        "would be reached: give setup_db another metrics_path, or metrics_path=None and serve "
        "the observer's expose() yourself"
    )


async def rendered(
    exposition: Exposition, accept: str, accept_encoding: str
) -> tuple[Sequence[tuple[str, str]], bytes]:
    """Render a scrape, given the request's headers of these names."""
    # In a thread: rendering some hundred routes takes some ten milliseconds, for which other requests would wait.
    return await asyncio.to_thread(exposition.expose, accept, accept_encoding)


class ScrapedApp:
    """An ASGI application that answers every HTTP request by the metrics.

    Args:
        exposition: what is scraped.

    """

    def __init__(self, exposition: Exposition) -> None:
        self._exposition = exposition

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers, body = await rendered(self._exposition, _header(scope, b"accept"), _header(scope, b"accept-encoding"))
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        raw.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def is_scrape(scope: Scope, path: str) -> bool:
    """Tell whether a request asks for the metrics, in an application that has no routes to ask."""
    if scope["type"] != "http" or scope["method"] not in METHODS:
        return False
    asked: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    # By the specification the path has the root path in it; some servers leave it out.
    return asked == (root + path if asked.startswith(f"{root}/") else path)


def _header(scope: Scope, name: bytes) -> str:
    return ", ".join(value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name)
