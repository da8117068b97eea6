"""Setting an aiohttp application up: where the middleware goes, and what happens when the application stops."""

from collections.abc import AsyncIterator, Iterable
from typing import Unpack

from aiohttp import web

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import Lifecycle, LifecycleOptions, called_twice, position_inside_tracing

from .metrics import serve_metrics
from .middleware import db_context_middleware, release_before_headers
from .routes import route_finder

LIFECYCLE = web.AppKey("context_async_sqlalchemy_lifecycle", Lifecycle)


def setup_db(
    app: web.Application,
    connections: Iterable[DBConnect],
    *,
    position: int | None = None,
    metrics_path: str | None = "/metrics",
    **options: Unpack[LifecycleOptions],
) -> None:
    """Give every request of an aiohttp application a database context.

    Args:
        app: the application, before it starts and before ``parent.add_subapp(prefix, app)``. A sub-application
            of one that is set up needs no call of its own; with one, the request has the parent's context.
        connections: disposed of when the application stops, after its last request has finished.
        position: index in ``app.middlewares``, 0 being the outermost. By default outermost, but inside of
            leading OpenTelemetry middlewares, so that the commit is part of the request's span.
        metrics_path: where the observer that can be scraped is served, as a route like any other; None for nowhere.
        options: ``commit_on``, ``before_commit``, ``after_commit``, ``finish_timeout``, ``drain_timeout``,
            ``observers``, ``leak_threshold`` and ``leak_stacks``; see
            :func:`context_async_sqlalchemy.setup_db`.

    Raises:
        TypeError: ``app`` is no ``web.Application``, or an element of ``connections`` no DBConnect.
        ValueError: a connection is given twice, or a time limit is not positive.
        RuntimeError: the application has started, is a sub-application already, was set up before, or has a route
            at ``metrics_path``.

    """
    _require_changeable(app)
    lifecycle = Lifecycle(connections, route_of=route_finder(), **options)

    async def shut_down_after_requests(_app: web.Application) -> AsyncIterator[None]:
        yield
        await lifecycle.shut_down()

    if metrics_path is not None:
        serve_metrics(app, metrics_path, lifecycle.observers)
    app[LIFECYCLE] = lifecycle
    if position is None:
        position = position_inside_tracing(app.middlewares)
    app.middlewares.insert(position, db_context_middleware(lifecycle))
    app.on_response_prepare.append(release_before_headers)
    # Not on_shutdown: that signal is sent before the requests in flight get their grace period.
    app.cleanup_ctx.append(shut_down_after_requests)


def _require_changeable(app: object) -> None:
    if not isinstance(app, web.Application):
        raise TypeError(f"setup_db takes an aiohttp web.Application, got {app!r}")
    if app.frozen:
        raise RuntimeError("setup_db was called after the application had started: call it before web.run_app(app)")
    if app.pre_frozen:
        raise RuntimeError(
            "setup_db was called after parent.add_subapp(prefix, app), which freezes the sub-application: call it "
            "before add_subapp, or on the parent, whose contexts the sub-application shares"
        )
    if LIFECYCLE in app:
        raise called_twice()
