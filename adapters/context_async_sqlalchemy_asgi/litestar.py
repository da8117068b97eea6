"""``setup_db`` for Litestar."""

from collections.abc import Iterable
from typing import Any, Unpack

from litestar import HttpMethod, Litestar, Request, Response, route
from litestar.exceptions import ImproperlyConfiguredException

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import (
    Lifecycle,
    LifecycleOptions,
    called_twice,
    exposition_at,
    path_taken,
    rendered,
)
from context_async_sqlalchemy.observer import Observer

from .metrics import ROUTE_NAME
from .middleware import DBContextMiddleware
from .routes import route_of

_LIFECYCLE = "db_lifecycle"


def setup_db(
    app: Litestar,
    connections: Iterable[DBConnect],
    *,
    metrics_path: str | None = "/metrics",
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
            slash, or several observers can be scraped.
        RuntimeError: the application was set up before, or has a route at ``metrics_path``. For a route that is added
            later, Litestar raises ``ImproperlyConfiguredException``.

    """
    _require_litestar(app)
    if _LIFECYCLE in app.state:
        raise called_twice()
    lifecycle = Lifecycle(connections, route_of=route_of, **options)
    if metrics_path is not None:
        _serve_metrics(app, metrics_path, lifecycle.observers)
    app.state[_LIFECYCLE] = lifecycle
    # Litestar does not send its lifespan through `asgi_handler`, so hooks do what the middleware does there. They are
    # the first in their lists, because Litestar runs the hooks of a stop in reverse order.
    application: Any = app
    application.asgi_handler = DBContextMiddleware(application.asgi_handler, lifecycle)
    app.on_startup.insert(0, lifecycle.start_observing)
    app.on_shutdown.insert(0, lifecycle.shut_down)


def _serve_metrics(app: Litestar, path: str, observers: Iterable[Observer]) -> None:
    exposition = exposition_at(path, observers)
    if exposition is None:
        return

    async def scrape(request: Request[Any, Any, Any]) -> Response[bytes]:
        asked = request.headers
        headers, body = await rendered(exposition, asked.get("accept", ""), asked.get("accept-encoding", ""))
        return Response(body, headers=dict(headers))

    methods = [HttpMethod.GET, HttpMethod.HEAD]
    try:
        app.register(route(path, http_method=methods, name=ROUTE_NAME, include_in_schema=False)(scrape))
    except ImproperlyConfiguredException as error:
        raise path_taken(path, error.detail) from error


def _require_litestar(app: object) -> None:
    if not isinstance(app, Litestar):
        raise TypeError(f"setup_db takes a Litestar application, got {app!r}")
