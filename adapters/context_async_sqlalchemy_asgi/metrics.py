"""Serving metrics from an ASGI application."""

from context_async_sqlalchemy.adapter_kit import rendered
from context_async_sqlalchemy.observer import Exposition

from .protocol import Receive, Scope, Send

ROUTE_NAME = "context_async_sqlalchemy_metrics"
METHODS = ("GET", "HEAD")


class ScrapedApp:
    """An ASGI application that answers every HTTP request with the metrics.

    Args:
        exposition: the observer that renders the metrics.

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
    """Return whether a request asks for the metrics, for an application that has no router."""
    if scope["type"] != "http" or scope["method"] not in METHODS:
        return False
    asked: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    # The path includes the root path by the specification, but some servers leave the root path out.
    return asked == (root + path if asked.startswith(f"{root}/") else path)


def _header(scope: Scope, name: bytes) -> str:
    return ", ".join(value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name)
