"""``setup_db`` for aiohttp: adds the middleware, the signal and the resources, and shuts down with the application."""

from collections.abc import AsyncIterator, Iterable
from typing import Unpack

from aiohttp import web

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import (
    DEFAULT_METRICS_PATH,
    Lifecycle,
    LifecycleOptions,
    called_twice,
    kind_of,
    middleware_position,
)

from .middleware import db_context_middleware, overload_middleware, release_before_headers
from .resources import serve
from .routes import route_finder

LIFECYCLE = web.AppKey("context_async_sqlalchemy_lifecycle", Lifecycle)


def setup_db(
    app: web.Application,
    connections: Iterable[DBConnect],
    *,
    position: int | None = None,
    metrics_path: str | None = DEFAULT_METRICS_PATH,
    **options: Unpack[LifecycleOptions],
) -> None:
    """Give every request of an aiohttp application a database context.

    Args:
        app: the application, before it starts and before ``parent.add_subapp(prefix, app)``. Set up the parent, and
            its sub-applications need no call. If both are set up, a request has the parent's context.
        connections: the databases. Their engines are disposed of when the application stops, after its last request.
        position: the index of the middleware in ``app.middlewares``, where 0 is the outermost. By default the
            middleware is outermost, but inside leading OpenTelemetry middlewares. So the commit is part of the
            request's span.
        metrics_path: the path of a route that serves the metrics. None adds no route.
        options: see :func:`context_async_sqlalchemy.setup_db`.

    Raises:
        TypeError: ``app`` is not a ``web.Application``, or an element of ``connections`` is not a DBConnect.
        ValueError: a connection is given twice, an option has no possible value, ``metrics_path`` does not begin with a
            slash, or several observers can be scraped, or none can at a ``metrics_path`` that you pass.
        RuntimeError: the application has started, is a sub-application already, was set up before, or has a route
            at ``metrics_path``. A route that is added later raises when the application starts.

    """
    _require_changeable(app)
    lifecycle = Lifecycle(connections, route_of=route_finder(), **options)

    async def start_and_shut_down(_app: web.Application) -> AsyncIterator[None]:
        await lifecycle.start()
        yield
        await lifecycle.shut_down()

    index = middleware_position(position, app.middlewares)
    serve(app, lifecycle.resources(metrics_path))
    app[LIFECYCLE] = lifecycle
    # A position that was passed says that middlewares outside are to see exceptions. OpenTelemetry's are to see a 503.
    is_outermost = not position
    app.middlewares.insert(index, db_context_middleware(lifecycle, is_outermost=is_outermost))
    if lifecycle.answer_503 and not is_outermost and any(each.limits_waits for each in lifecycle.connections):
        app.middlewares.insert(0, overload_middleware())
    app.on_response_prepare.append(release_before_headers)
    # aiohttp sends on_shutdown before the open requests get their grace period, so that signal would be too early.
    app.cleanup_ctx.append(start_and_shut_down)


def _require_changeable(app: object) -> None:
    if not isinstance(app, web.Application):
        raise TypeError(f"setup_db takes an aiohttp web.Application, got {kind_of(app)}")
    if app.frozen:
        raise RuntimeError("setup_db was called after the application had started: call it before web.run_app(app)")
    if app.pre_frozen:
        raise RuntimeError(
            "setup_db was called after parent.add_subapp(prefix, app), which freezes the sub-application: call it "
            "before add_subapp, or on the parent, whose contexts the sub-application shares"
        )
    if app.on_startup.frozen:
        raise RuntimeError(
            "setup_db was called while the application was starting, in on_startup or cleanup_ctx, where aiohttp takes "
            "no further handlers: call it where the application is made, before web.run_app(app)"
        )
    if LIFECYCLE in app:
        raise called_twice()
