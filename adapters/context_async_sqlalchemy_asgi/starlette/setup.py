"""Setting a Starlette or FastAPI application up: where the middleware goes."""

from collections.abc import Iterable
from typing import Unpack

from starlette.applications import Starlette
from starlette.middleware import Middleware

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import Lifecycle, LifecycleOptions, position_inside_tracing
from context_async_sqlalchemy_asgi.middleware import DBContextMiddleware
from context_async_sqlalchemy_asgi.routes import route_of

from .metrics import serve_metrics


def setup_db(
    app: Starlette,
    connections: Iterable[DBConnect],
    *,
    position: int | None = None,
    metrics_path: str | None = "/metrics",
    **options: Unpack[LifecycleOptions],
) -> None:
    """Give every request of a Starlette or FastAPI application, and every websocket, a database context.

    Args:
        app: the application, before it starts. A mounted application needs no call of its own; with one, the
            request has the parent's context. Its lifespan is not run: give its connections to the parent.
        connections: disposed of when the application stops, after its own shutdown code and its last request.
        position: index in ``app.user_middleware``, 0 being the outermost. By default outermost of those that were
            added before, but inside of leading OpenTelemetry middlewares, so that the commit is part of the
            request's span. Middlewares that are added later stand outside: ``add_middleware`` is so.
        metrics_path: where the observer that can be scraped is served, as a route like any other; None for nowhere.
        options: ``commit_on``, ``before_commit``, ``after_commit``, ``finish_timeout``, ``drain_timeout``,
            ``observers``, ``leak_threshold`` and ``leak_stacks``; see
            :func:`context_async_sqlalchemy.setup_db`.

    Raises:
        TypeError: ``app`` is no ``Starlette``, or an element of ``connections`` no DBConnect.
        ValueError: a connection is given twice, or a time limit is not positive.
        RuntimeError: the application has started, has such a middleware already, or a route at ``metrics_path``; the
            last is raised when the application starts if the other route is added later.

    """
    _require_changeable(app)
    lifecycle = Lifecycle(connections, route_of=route_of, **options)
    if metrics_path is not None:
        serve_metrics(app, metrics_path, lifecycle.observers)
    app.state.db_lifecycle = lifecycle
    if position is None:
        position = position_inside_tracing(middleware.cls for middleware in app.user_middleware)
    app.user_middleware.insert(position, Middleware(DBContextMiddleware, lifecycle=lifecycle))


def _require_changeable(app: object) -> None:
    if not isinstance(app, Starlette):
        raise TypeError(f"setup_db takes a Starlette or FastAPI application, got {app!r}")
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
