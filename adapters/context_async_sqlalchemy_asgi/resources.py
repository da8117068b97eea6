"""Serving the resources of observers, such as the metrics, from an ASGI application."""

from collections.abc import Iterable

from context_async_sqlalchemy.observer import Resource, ResourceRequest

from .protocol import Receive, Scope, Send

ROUTE_NAME = "context_async_sqlalchemy"
"""The name of the first route. Those of the others have a number behind it."""
METHODS = ("GET", "HEAD")


class ResourceApp:
    """An ASGI application that answers every HTTP request with one resource.

    Args:
        resource: the resource.

    """

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        status, headers, body = await self._resource.answer(request_of(scope))
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        raw.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class Resources:
    """The resources of an application that has no router.

    Args:
        resources: the resources.

    """

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._by_path = {resource.path: ResourceApp(resource) for resource in resources}

    def asked_for(self, scope: Scope) -> ResourceApp | None:
        """Return the resource that a request asks for, or None."""
        if not self._by_path or scope["type"] != "http" or scope["method"] not in METHODS:
            return None
        asked: str = scope["path"]
        root: str = scope.get("root_path", "").rstrip("/")
        # The path includes the root path by the specification, but some servers leave the root path out.
        return self._by_path.get(asked.removeprefix(root) if asked.startswith(f"{root}/") else asked)


def request_of(scope: Scope) -> ResourceRequest:
    """Return the request for a resource."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if (scope.get("raw_path") or b"").endswith(b"/") and not path.endswith("/"):
        # Litestar takes the last slash off the path. The browser has it, and its relative links start from there.
        path += "/"
    headers = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    return ResourceRequest.of(
        # See `Resources`: some servers leave the root path out.
        path if path.startswith(f"{root}/") else root + path,
        scope.get("query_string", b"").decode("latin-1"),
        headers,
    )
