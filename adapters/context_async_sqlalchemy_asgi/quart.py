"""``setup_db`` for Quart."""

from collections.abc import Iterable
from typing import Any, Unpack

from quart import Quart, Response, has_websocket_context, request, websocket
from quart.wrappers import BaseRequestWebsocket

from context_async_sqlalchemy import DBConnect, PoolOverloadedError
from context_async_sqlalchemy.adapter_kit import (
    DEFAULT_METRICS_PATH,
    TRY_AGAIN_LATER,
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
from .request_context import RequestContext
from .resources import METHODS, ROUTE_NAME, request_of

_EXTENSION = "context_async_sqlalchemy"
_TEMPLATE = "context_async_sqlalchemy.rule"


def setup_db(
    app: Quart,
    connections: Iterable[DBConnect],
    *,
    metrics_path: str | None = DEFAULT_METRICS_PATH,
    **options: Unpack[LifecycleOptions],
) -> None:
    """Give every request and every websocket of a Quart application a database context.

    The server answers a commit that fails. The application's error handlers do not see the failure, because Quart
    sends a response after they have run.

    Args:
        app: the application, before it starts.
        connections: the databases. Their engines are disposed of after the application's last request and its own
            shutdown code.
        metrics_path: the path of a route that serves the metrics. None adds no route.
        options: see :func:`context_async_sqlalchemy.setup_db`.

    Raises:
        TypeError: ``app`` is not a ``Quart``, or an element of ``connections`` is not a DBConnect.
        ValueError: a connection is given twice, a time limit is not positive, ``metrics_path`` does not begin with a
            slash, or several observers can be scraped, or none can at a ``metrics_path`` that you pass.
        RuntimeError: the application was set up before, or has a route at ``metrics_path``. A route that is added
            later raises when the application starts.

    """
    _require_changeable(app)
    lifecycle = Lifecycle(connections, route_of=_route_of, **options)
    resources = lifecycle.resources(metrics_path)

    def require_free() -> None:
        for resource in resources:
            _require_free(app, resource)

    require_free()
    for number, resource in enumerate(resources):
        _serve(app, resource, number)
    if lifecycle.observers:
        _store_templates(app)
    if lifecycle.answer_503 and PoolOverloadedError not in app.error_handler_spec[None][None]:
        app.register_error_handler(PoolOverloadedError, _overload_handler(app))
    app.extensions[_EXTENSION] = lifecycle
    # A method is replaced, because Quart documents this for middleware.
    application: Any = app
    application.asgi_app = DBContextMiddleware(application.asgi_app, lifecycle, require_free)


def _overload_handler(app: Quart) -> Any:
    async def answer_overload(error: PoolOverloadedError) -> Any:
        # Quart takes the handler of the nearest class, but a handler of the application for any base class comes first.
        of_application = app.error_handler_spec[None][None]
        for kind in PoolOverloadedError.__mro__[1:]:
            if kind in of_application:
                own: Any = of_application[kind]
                return await app.ensure_async(own)(error)
        context = context_or_none()
        if has_websocket_context() and isinstance(context, RequestContext) and context.is_started:
            await websocket.close(TRY_AGAIN_LATER)
            return None
        answer = overload_answer(error)
        return Response(answer.body, answer.status, answer.headers)

    return answer_overload


def _serve(app: Quart, resource: Resource, number: int) -> None:
    async def answer() -> Response:
        scope: Any = request.scope
        status, headers, body = await resource.answer(request_of(scope))
        return Response(body, status, dict(headers))

    app.add_url_rule(
        resource.path,
        f"{ROUTE_NAME}_{number}",
        answer,
        methods=list(METHODS),
        provide_automatic_options=False,
        # Otherwise Quart redirects a path to the one with a slash at its end, whichever was added first.
        strict_slashes=True,
    )


def _require_free(app: Quart, resource: Resource) -> None:
    """Refuse a second rule of the same path, because Quart would serve only the first."""
    for rule in app.url_map.iter_rules():
        is_ours = rule.endpoint.startswith(f"{ROUTE_NAME}_")
        methods = rule.methods
        if not is_ours and rule.rule == resource.path and (methods is None or methods.intersection(METHODS)):
            raise path_taken(resource, repr(rule))


def _store_templates(app: Quart) -> None:
    """Store the template of each route in the scope, because Quart's own context ends before a response begins."""

    async def store_request() -> None:
        _store_template(request)

    async def store_websocket() -> None:
        _store_template(websocket)

    # They are the first, because Quart calls none after one that has answered.
    app.before_request_funcs[None].insert(0, store_request)
    app.before_websocket_funcs[None].insert(0, store_websocket)


def _store_template(asked: BaseRequestWebsocket) -> None:
    if asked.url_rule is not None:
        scope: Any = asked.scope
        scope[_TEMPLATE] = asked.url_rule.rule


def _route_of(scope: Scope) -> str:
    return route_name(scope.get("method", "GET"), scope.get(_TEMPLATE))


def _require_changeable(app: object) -> None:
    if not isinstance(app, Quart):
        raise TypeError(f"setup_db takes a Quart application, got {kind_of(app)}")
    if _EXTENSION in app.extensions:
        raise called_twice()
