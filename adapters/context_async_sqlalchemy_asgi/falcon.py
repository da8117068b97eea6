"""``setup_db`` for Falcon's ASGI applications, which have no place for an ASGI middleware."""

import re
from collections.abc import Callable, Iterable
from re import Pattern
from typing import Any, Unpack

from falcon import inspect
from falcon.asgi import App, Request, Response, WebSocket

from context_async_sqlalchemy import DBConnect, PoolOverloadedError
from context_async_sqlalchemy.adapter_kit import (
    DEFAULT_METRICS_PATH,
    TRY_AGAIN_LATER,
    Lifecycle,
    LifecycleOptions,
    called_twice,
    kind_of,
    overload_answer,
    path_taken,
    route_name,
)
from context_async_sqlalchemy.observer import Resource

from .middleware import DBContextMiddleware
from .protocol import Receive, Scope, Send
from .resources import request_of

_MARK = "_context_async_sqlalchemy"
_TEMPLATE = "context_async_sqlalchemy.uri_template"


def setup_db(
    app: "App[Any, Any]",
    connections: Iterable[DBConnect],
    *,
    metrics_path: str | None = DEFAULT_METRICS_PATH,
    **options: Unpack[LifecycleOptions],
) -> None:
    """Give every request and every websocket of a Falcon application on ASGI a database context.

    The server answers a commit that fails. The application's error handlers do not see the failure, because they run
    inside the middleware.

    Args:
        app: the application, before it starts.
        connections: the databases. Their engines are disposed of after the application's last request and its own
            shutdown code.
        metrics_path: the path of a route that serves the metrics. None adds no route.
        options: see :func:`context_async_sqlalchemy.setup_db`.

    Raises:
        TypeError: ``app`` is not a ``falcon.asgi.App``, or an element of ``connections`` is not a DBConnect.
        ValueError: a connection is given twice, a time limit is not positive, ``metrics_path`` does not begin with a
            slash, or several observers can be scraped, or none can at a ``metrics_path`` that you pass.
        RuntimeError: the application was set up before, or has a route at ``metrics_path``. A route that is added
            later raises when the application starts.

    """
    _require_falcon_on_asgi(app)
    if hasattr(app, _MARK):
        raise called_twice()
    lifecycle = Lifecycle(connections, route_of=_route_finder(app), **options)
    resources = lifecycle.resources(metrics_path)

    def require_free() -> None:
        for resource in resources:
            _require_free(app, resource)

    require_free()
    for resource in resources:
        app.add_route(resource.path, _ServedResource(resource))
    if lifecycle.answer_503 and not _handles_overload(app):
        app.add_error_handler(PoolOverloadedError, _answer_overload)
    app.add_middleware(_TemplateRecorder())
    _wrap(app, lifecycle, require_free)


def _wrap(app: "App[Any, Any]", lifecycle: Lifecycle, require_sound: Callable[[], None]) -> None:
    """Put the middleware around an application, while servers keep their reference to the application.

    A server calls ``type(app).__call__``, so the application gets a subclass whose ``__call__`` is the middleware.
    Code that compares ``type(app) is App`` breaks. ``isinstance(app, App)`` works as before.
    """
    base: Any = type(app)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await base.__call__(app, scope, receive, send)

    middleware = DBContextMiddleware(application, lifecycle, require_sound)

    # The first parameter is named `self`, because Falcon's test clients recognize ASGI applications by that name.
    async def call(
        self: object,  # noqa: ARG001 - only looked at by its name
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        await middleware(scope, receive, send)

    attributes = {"__call__": call, "__slots__": (), "__module__": base.__module__, _MARK: lifecycle}
    # The class is replaced, because Python looks `__call__` up on the class and not on the instance.
    app.__class__ = type(base.__name__, (base,), attributes)


def _handles_overload(app: "App[Any, Any]") -> bool:
    """Return whether the application has a handler for the error or a base class of it."""
    application: Any = app
    handlers = application._error_handlers  # noqa: SLF001 - there is no public name
    falcons_own = application._python_error_handler  # noqa: SLF001 - there is no public name
    return any(handlers.get(kind) not in (None, falcons_own) for kind in PoolOverloadedError.__mro__)


async def _answer_overload(
    _request: Request,
    response: Response | None,
    error: PoolOverloadedError,
    _params: dict[str, Any],
    ws: WebSocket | None = None,
) -> None:
    if response is None:
        if ws is not None:
            await ws.close(TRY_AGAIN_LATER)
        return
    answer = overload_answer(error)
    response.status = answer.status
    response.set_headers(dict(answer.headers))
    response.data = answer.body


class _TemplateRecorder:
    """Falcon middleware that stores the template of the route in the scope, where Falcon does not put it."""

    async def process_resource(
        self,
        req: Request,
        resp: Response,  # noqa: ARG002 - Falcon's signature
        resource: object,  # noqa: ARG002 - Falcon's signature
        params: dict[str, Any],  # noqa: ARG002 - Falcon's signature
    ) -> None:
        """Store the template for a request."""
        req.scope[_TEMPLATE] = req.uri_template

    async def process_resource_ws(
        self,
        req: Request,
        ws: object,  # noqa: ARG002 - Falcon's signature
        resource: object,  # noqa: ARG002 - Falcon's signature
        params: dict[str, Any],  # noqa: ARG002 - Falcon's signature
    ) -> None:
        """Store the template for a websocket."""
        req.scope[_TEMPLATE] = req.uri_template


def _route_finder(app: "App[Any, Any]") -> Callable[[Scope], str]:
    """Return a function that names the routes of an application: by a template, or by the prefix of a sink."""
    prefixes: list[Pattern[str]] | None = None

    def route_of(scope: Scope) -> str:
        nonlocal prefixes
        template: str | None = scope.get(_TEMPLATE)
        if template is None:
            if prefixes is None:
                # Once, after the application's startup code, because this reads source files.
                prefixes = [re.compile(sink.prefix) for sink in inspect.inspect_sinks(app)]
            # Falcon has no hook for a sink, and takes the first that matches.
            template = next((prefix.pattern for prefix in prefixes if prefix.match(scope["path"])), None)
        return route_name(scope.get("method", "GET"), template)

    return route_of


class _ServedResource:
    """Falcon resource that answers with a resource of an observer."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer a request."""
        resp.status, headers, body = await self._resource.answer(request_of(req.scope))
        for name, value in headers:
            # `set_headers` takes no cookie.
            resp.append_header(name, value)
        resp.data = body

    on_head = on_get


def _require_free(app: "App[Any, Any]", resource: Resource) -> None:
    """Refuse a second resource of the same path, because Falcon would silently replace the first."""
    for route in inspect.inspect_routes(app):
        if route.path == resource.path and route.class_name != _ServedResource.__name__:
            raise path_taken(resource, f"{route.class_name}, {route.source_info}")


def _require_falcon_on_asgi(app: object) -> None:
    if not isinstance(app, App):
        raise TypeError(
            f"setup_db takes a falcon.asgi.App, got {kind_of(app)}: a falcon.App is a WSGI application, and the "
            "sessions here are asynchronous"
        )
