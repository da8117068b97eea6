"""Serving metrics from an ASGI application: the answer, and what is said of a path that is taken."""

from context_async_sqlalchemy.adapter_kit import rendered
from context_async_sqlalchemy.observer import Exposition

from .protocol import Receive, Scope, Send

ROUTE_NAME = "context_async_sqlalchemy_metrics"
METHODS = ("GET", "HEAD")


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
