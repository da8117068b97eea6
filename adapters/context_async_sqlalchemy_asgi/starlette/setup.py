"""``setup_db`` for Starlette and FastAPI."""

from collections.abc import Iterable
from typing import Unpack

from starlette.applications import Starlette
from starlette.middleware import Middleware

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import (
    DEFAULT_METRICS_PATH,
    Lifecycle,
    LifecycleOptions,
    kind_of,
    middleware_position,
)
from context_async_sqlalchemy_asgi.middleware import DBContextMiddleware
from context_async_sqlalchemy_asgi.routes import route_of

from .resources import serve


def setup_db(
    app: Starlette,
    connections: Iterable[DBConnect],
    *,
    position: int | None = None,
    metrics_path: str | None = DEFAULT_METRICS_PATH,
    **options: Unpack[LifecycleOptions],
) -> None:
    """Give every request and every websocket of a Starlette or FastAPI application a database context.

    Args:
        app: the application, before it starts. Set up the parent, and mounted applications need no call. If both are
            set up, a request has the parent's context. Starlette does not run the lifespan of a mounted application,
            so give the parent its connections.
        connections: the databases. Their engines are disposed of after the application's last request and its own
            shutdown code.
        position: the index of the middleware in ``app.user_middleware``, where 0 is the outermost. By default the
            middleware is outermost, but inside leading OpenTelemetry middlewares. So the commit is part of the
            request's span. ``app.add_middleware`` puts later middlewares outside.
        metrics_path: the path of a route that serves the metrics. None adds no route.
        options: see :func:`context_async_sqlalchemy.setup_db`.

    Raises:
        TypeError: ``app`` is not a ``Starlette``, or an element of ``connections`` is not a DBConnect.
        ValueError: a connection is given twice, a time limit is not positive, ``metrics_path`` does not begin with a
            slash, or several observers can be scraped, or none can at a ``metrics_path`` that you pass.
        RuntimeError: the application has started, has a database middleware, or has a route at ``metrics_path``. A
            route that is added later raises when the application starts.

    """
    _require_changeable(app)
    lifecycle = Lifecycle(connections, route_of=route_of, **options)
    index = middleware_position(position, [middleware.cls for middleware in app.user_middleware])
    serve(app, lifecycle.resources(metrics_path))
    app.state.db_lifecycle = lifecycle
    app.user_middleware.insert(index, Middleware(DBContextMiddleware, lifecycle=lifecycle))


def _require_changeable(app: object) -> None:
    if not isinstance(app, Starlette):
        raise TypeError(f"setup_db takes a Starlette or FastAPI application, got {kind_of(app)}")
    if app.middleware_stack is not None:
        raise RuntimeError(
            "setup_db was called after the application had started, when Starlette takes no middleware any more: "
            "call it where the application is made, not in its lifespan"
        )
    present = [middleware.cls for middleware in app.user_middleware if _opens_contexts(middleware.cls)]
    if present:
        raise RuntimeError(
            f"this application has a {present[0]!r} already: call setup_db once, with all connections, and in place of "
            "adding the middleware"
        )


def _opens_contexts(factory: object) -> bool:
    return isinstance(factory, type) and issubclass(factory, DBContextMiddleware)
