"""``setup_db`` for Litestar."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Unpack
from urllib.parse import unquote

from litestar import HttpMethod, Litestar, Request, Response, route
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import ASGIRouteHandler
from litestar.routes import ASGIRoute

from context_async_sqlalchemy import DBConnect, PoolOverloadedError
from context_async_sqlalchemy.adapter_kit import (
    DEFAULT_METRICS_PATH,
    Lifecycle,
    LifecycleOptions,
    called_twice,
    context_or_none,
    kind_of,
    overload_answer,
    path_taken,
    route_name,
)
from context_async_sqlalchemy.observer import Resource

from .middleware import DBContextMiddleware
from .protocol import Scope
from .request_context import WebSocketContext
from .resources import ROUTE_NAME, request_of

_LIFECYCLE = "db_lifecycle"


def setup_db(
    app: Litestar,
    connections: Iterable[DBConnect],
    *,
    metrics_path: str | None = DEFAULT_METRICS_PATH,
    **options: Unpack[LifecycleOptions],
) -> None:
    """Give every request and every websocket of a Litestar application a database context.

    The server answers a commit that fails. The application's exception handlers do not see the failure, because they
    run inside the middleware.

    Args:
        app: the application, before it starts.
        connections: the databases. Their engines are disposed of after the application's last request and its own
            shutdown code.
        metrics_path: the path of a route that serves the metrics. None adds no route.
        options: see :func:`context_async_sqlalchemy.setup_db`.

    Raises:
        TypeError: ``app`` is not a ``Litestar``, or an element of ``connections`` is not a DBConnect.
        ValueError: a connection is given twice, a time limit is not positive, ``metrics_path`` does not begin with a
            slash, or several observers can be scraped, or none can at a ``metrics_path`` that you pass.
        RuntimeError: the application was set up before, or has a route at ``metrics_path``. For a route that is added
            later, Litestar raises ``ImproperlyConfiguredException``.

    """
    _require_litestar(app)
    if _LIFECYCLE in app.state:
        raise called_twice()
    lifecycle = Lifecycle(connections, route_of=_route_finder(app), **options)
    _serve(app, lifecycle.resources(metrics_path))
    app.state[_LIFECYCLE] = lifecycle

    async def start() -> None:
        await lifecycle.start()

    # Litestar does not send its lifespan through `asgi_handler`, so hooks do what the middleware does there. They are
    # the first in their lists, because Litestar runs the hooks of a stop in reverse order.
    application: Any = app
    application.asgi_handler = DBContextMiddleware(application.asgi_handler, lifecycle)
    app.on_startup.insert(0, start)
    handlers = application.exception_handlers
    if lifecycle.answer_503 and not any(kind in handlers for kind in PoolOverloadedError.__mro__):
        handlers[PoolOverloadedError] = _answer_overload
    if lifecycle.answer_503:
        application.after_exception.append(_shed_websocket)
    app.on_shutdown.insert(0, lifecycle.shut_down)


def _answer_overload(_request: Request[Any, Any, Any], error: PoolOverloadedError) -> Response[bytes]:
    answer = overload_answer(error)
    return Response(answer.body, status_code=answer.status, headers=dict(answer.headers))


async def _shed_websocket(error: Exception, _scope: Any) -> None:
    """Note why Litestar closes a websocket, because its exception handlers are for requests only."""
    context = context_or_none()
    if not isinstance(error, PoolOverloadedError) or not isinstance(context, WebSocketContext):
        return
    if context.is_started:
        context.is_shed = True
    else:
        context.failure = error


def _serve(app: Litestar, resources: Iterable[Resource]) -> None:
    paths: set[str] = set()
    methods = [HttpMethod.GET, HttpMethod.HEAD]
    for number, resource in enumerate(resources):
        # Litestar takes a path with a slash at its end for the same.
        if resource.path.rstrip("/") in paths:
            continue
        paths.add(resource.path)
        made = route(resource.path, http_method=methods, name=f"{ROUTE_NAME}_{number}", include_in_schema=False)
        try:
            app.register(made(_answered_by(resource)))
        except ImproperlyConfiguredException as error:
            raise path_taken(resource, error.detail) from error


def _answered_by(resource: Resource) -> Callable[[Request[Any, Any, Any]], Awaitable[Response[bytes]]]:
    async def answer(request: Request[Any, Any, Any]) -> Response[bytes]:
        scope: Any = request.scope
        status, headers, body = await resource.answer(request_of(scope))
        return Response(body, status_code=status, headers=dict(headers))

    return answer


def _route_finder(app: Litestar) -> Callable[[Scope], str]:
    """Return a function that names the routes of an application; Litestar tells the template, but not of a mount."""
    # Litestar has taken the path of the mount off the path of the request. It may mount a handler at several paths.
    mounts: dict[ASGIRouteHandler, list[str]] = {}

    def route_of(scope: Scope) -> str:
        handler = scope.get("route_handler")
        template: str | None = scope.get("path_template")
        if isinstance(handler, ASGIRouteHandler) and handler.is_mount:
            if handler not in mounts:
                routes = [route for route in app.routes if isinstance(route, ASGIRoute)]
                mounts[handler] = [route.path for route in routes if route.route_handler is handler]
            path = unquote(scope["raw_path"].decode("latin-1")).removeprefix(scope.get("root_path", ""))
            template = next((mount for mount in mounts[handler] if path.startswith(mount)), None)
        return route_name(scope.get("method", "GET"), template)

    return route_of


def _require_litestar(app: object) -> None:
    if not isinstance(app, Litestar):
        raise TypeError(f"setup_db takes a Litestar application, got {kind_of(app)}")
