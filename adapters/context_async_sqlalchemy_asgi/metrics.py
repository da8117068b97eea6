"""Serving metrics from an ASGI application."""

from collections.abc import Iterator

from context_async_sqlalchemy.adapter_kit import Scrape

from .protocol import Receive, Scope, Send

ROUTE_NAME = "context_async_sqlalchemy_metrics"
METHODS = ("GET", "HEAD")


class ScrapedApp:
    """An ASGI application that answers every HTTP request with the metrics.

    Args:
        scrape: answers the scrapes.

    """

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        status, headers, body = await self._scrape.answer(headers_of(scope))
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        raw.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def is_scrape(scope: Scope, path: str) -> bool:
    """Return whether a request asks for the metrics, for an application that has no router."""
    if scope["type"] != "http" or scope["method"] not in METHODS:
        return False
    asked: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    # The path includes the root path by the specification, but some servers leave the root path out.
    return asked == (root + path if asked.startswith(f"{root}/") else path)


def headers_of(scope: Scope) -> Iterator[tuple[str, str]]:
    """Return the headers of a request as strings."""
    return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
