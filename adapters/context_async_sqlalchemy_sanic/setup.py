"""``setup_db`` for Sanic: adds signal handlers, listeners and the resources, and shuts down with the worker."""

import sys
from collections.abc import Iterable
from typing import Any, Unpack

from sanic import Sanic
from sanic.signals import Event

from context_async_sqlalchemy import DBConnect, PoolOverloadedError
from context_async_sqlalchemy.adapter_kit import (
    DEFAULT_METRICS_PATH,
    Lifecycle,
    LifecycleOptions,
    called_twice,
    find_contexts_by,
    kind_of,
)

from .overload import answer_overload, close_shed_websocket
from .request_context import RequestContexts, find_context_of_request
from .requests import require_known_sanic, route_of
from .resources import serve
from .sanic_ext import inject_sessions
from .signals import RequestSignals

# The handlers run before the application's, because a handler that raises or returns a true value ends the dispatch.
_FIRST = sys.maxsize
# Sanic dispatches this signal in reverse order of priority.
_FIRST_OF_WEBSOCKET_AFTER = -_FIRST


def setup_db(
    app: Sanic[Any, Any],
    connections: Iterable[DBConnect],
    *,
    metrics_path: str | None = DEFAULT_METRICS_PATH,
    **options: Unpack[LifecycleOptions],
) -> None:
    """Give every request of a Sanic application a database context.

    Args:
        app: the application, before it starts.
        connections: the databases. Each worker makes its engines at first use, and disposes of them when it stops.
        metrics_path: the path of a route that serves the metrics. None adds no route.
        options: see :func:`context_async_sqlalchemy.setup_db`.

    Raises:
        TypeError: ``app`` is not a ``Sanic``, or an element of ``connections`` is not a DBConnect.
        ValueError: a connection is given twice, a time limit is not positive, ``metrics_path`` does not begin with a
            slash, or several observers can be scraped, or none can at a ``metrics_path`` that you pass.
        RuntimeError: the application has started, was set up before, or has a route at ``metrics_path``. Or Sanic lacks
            an attribute that the adapter needs.

    """
    _require_sanic(app)
    _require_changeable(app)
    require_known_sanic()
    lifecycle = Lifecycle(connections, route_of=route_of, **options)
    contexts = RequestContexts(lifecycle)
    signals = RequestSignals(contexts)

    async def prepare(app: Any) -> None:
        # Sanic's own server needs no middleware, because `task_of` finds the task of its requests. The middleware is
        # added only once, because a test client starts an application several times.
        if app.asgi and all(
            getattr(middleware, "func", None) != signals.open_early for middleware in app.request_middleware
        ):
            app.on_request(signals.open_early, priority=_FIRST)
        inject_sessions(app, lifecycle.connections)
        # Only now, because the application's own handler has priority, and Sanic refuses a second one.
        handlers = app.error_handler.cached_handlers
        if lifecycle.answer_503 and not any((kind, None) in handlers for kind in PoolOverloadedError.__mro__):
            app.error_handler.add(PoolOverloadedError, answer_overload)

    async def announce_workers(app: Sanic[Any, Any]) -> None:
        lifecycle.announce_workers(app.state.workers)

    async def start(app: Sanic[Any, Any]) -> None:
        # Sanic's main process is asked for the number, so only if it is wanted.
        await lifecycle.start(_worker_count(app) if lifecycle.check_at_start else None)

    async def shut_down(_app: Sanic[Any, Any]) -> None:
        await lifecycle.shut_down()

    serve(app, lifecycle.resources(metrics_path))
    app.ctx.db_lifecycle = lifecycle
    app.ctx.db_contexts = contexts
    find_contexts_by(find_context_of_request)
    app.signal(Event.HTTP_LIFECYCLE_EXCEPTION, priority=_FIRST)(signals.fail)
    app.signal(Event.HTTP_LIFECYCLE_RESPONSE, priority=_FIRST)(signals.finish)
    app.signal(Event.WEBSOCKET_HANDLER_AFTER, priority=_FIRST_OF_WEBSOCKET_AFTER)(signals.finish_websocket)
    if lifecycle.answer_503:
        app.signal(Event.WEBSOCKET_HANDLER_EXCEPTION)(close_shed_websocket)
    app.register_listener(prepare, "before_server_start", priority=_FIRST)
    # create_server() warns about listeners of main_process_start. This event precedes the workers as well.
    app.register_listener(announce_workers, "main_process_ready")
    app.register_listener(start, "before_server_start")
    # Sanic runs the listeners of a stop in reverse order. So this listener is the last: others may still use sessions.
    app.register_listener(shut_down, "after_server_stop", priority=_FIRST)


def _require_sanic(candidate: object) -> None:
    if not isinstance(candidate, Sanic):
        raise TypeError(f"setup_db takes a Sanic application, got {kind_of(candidate)}")


def _require_changeable(app: Sanic[Any, Any]) -> None:
    if app.state.is_started:
        raise RuntimeError(
            "setup_db was called after the application had started, when Sanic ignores new signals without a word: "
            "call it where the application is made, not in a listener"
        )
    if hasattr(app.ctx, "db_lifecycle"):
        raise called_twice()


def _worker_count(app: Sanic[Any, Any]) -> int | None:
    """Return the number of Sanic's worker processes, or None in a single process or under another server."""
    if not hasattr(app, "multiplexer"):
        return None
    return sum(bool(worker.get("server")) for worker in app.m.workers.values())
