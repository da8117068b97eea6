"""An application: its routes, its middlewares, and the applications mounted in it."""

import re
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

from .messages import Answer, BeforeHeaders, Handler, Middleware, RaisedResponse, Request, Response


class _Route(NamedTuple):
    methods: Collection[str]
    template: str
    pattern: re.Pattern[str]
    handler: Handler


class App:
    """An application.

    Attributes:
        state: for extensions, which keep their data about the application here.
        middlewares: called around every request, the first one outermost.
        before_headers: awaited before the headers of a stream or a websocket are sent; an exception prevents them.
        on_startup: awaited before the first request; an exception stops the start.
        on_shutdown: awaited when the application stops, after its last request.
        is_running: whether the application has started.

    """

    def __init__(self) -> None:
        self.state: dict[str, object] = {}
        self.middlewares: list[Middleware] = []
        self.before_headers: list[BeforeHeaders] = []
        self.on_startup: list[Callable[[], Awaitable[object]]] = []
        self.on_shutdown: list[Callable[[], Awaitable[object]]] = []
        self.is_running = False
        self._routes: list[_Route] = []
        self._mounted: list[tuple[str, App]] = []

    def add_route(self, methods: Collection[str], template: str, handler: Handler) -> None:
        """Serve a path by a handler.

        Args:
            methods: the HTTP methods.
            template: the path; ``{name}`` stands for any one segment, which is a parameter of the request.
            handler: called with the request.

        """
        pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template)))
        self._routes.append(_Route(methods, template, pattern, handler))

    def has_route(self, template: str) -> bool:
        """Return whether a handler of this application serves the template."""
        return any(route.template == template for route in self._routes)

    def mount(self, prefix: str, app: "App") -> None:
        """Serve all paths below a prefix by another application, within the middlewares of this one."""
        self._mounted.append((prefix, app))

    def applications(self) -> list["App"]:
        """Return this application and those that are mounted in it."""
        return [self, *(inner for _, app in self._mounted for inner in app.applications())]

    async def handle(self, request: Request, prefix: str = "") -> Answer:
        """Answer a request whose path begins with the prefix under which this application is mounted.

        Raises:
            RaisedResponse: raised by the handler, or for a path without a route.
            Exception: raised by the handler or a middleware.

        """
        request.before_headers.extend(self.before_headers)
        handler = self._handler_of(request, prefix)
        for middleware in reversed(self.middlewares):
            handler = _within(middleware, handler)
        return await handler(request)

    def _handler_of(self, request: Request, prefix: str) -> Handler:
        path = request.path.removeprefix(prefix)
        for below, app in self._mounted:
            if path.startswith(f"{below}/"):
                return partial(app.handle, prefix=prefix + below)
        for route in self._routes:
            match = route.pattern.fullmatch(path)
            if match is not None and request.method in route.methods:
                request.template = prefix + route.template
                request.parameters = match.groupdict()
                return route.handler
        return _not_found


def _within(middleware: Middleware, handler: Handler) -> Handler:
    async def handle(request: Request) -> Answer:
        return await middleware(request, handler)

    return handle


async def _not_found(_request: Request) -> Answer:
    raise RaisedResponse(Response(HTTPStatus.NOT_FOUND))
