"""Setting a Sanic application up: the signals that see every end of a request, and what happens when it stops."""

import sys
from collections.abc import Iterable
from typing import Any, Unpack

from sanic import Sanic
from sanic.signals import Event

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import Lifecycle, LifecycleOptions, called_twice, find_contexts_by

from .metrics import serve_metrics
from .request_context import RequestContexts, find_context_of_request
from .requests import require_known_sanic, route_of
from .sanic_ext import inject_sessions
from .signals import RequestSignals

# Before the application's own signal handlers: one that raises or returns something true ends the dispatch.
_FIRST = sys.maxsize
# That one is dispatched in reverse order.
_FIRST_OF_WEBSOCKET_AFTER = -_FIRST


def setup_db(
    app: Sanic[Any, Any],
    connections: Iterable[DBConnect],
    *,
    metrics_path: str | None = "/metrics",
    **options: Unpack[LifecycleOptions],
) -> None:
    """Give every request of a Sanic application a database context.

    Args:
        app: the application, before it starts.
        connections: made in each worker at the first use, disposed of when the worker stops.
        metrics_path: where the observer that can be scraped is served, as a route like any other; None for nowhere.
        options: ``commit_on``, ``before_commit``, ``after_commit``, ``finish_timeout``, ``drain_timeout``,
            ``observers``, ``leak_threshold`` and ``leak_stacks``; see
            :func:`context_async_sqlalchemy.setup_db`.

    Raises:
        TypeError: ``app`` is no ``Sanic``, or an element of ``connections`` no DBConnect.
        ValueError: a connection is given twice, or a time limit is not positive.
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
        # Not on Sanic's own server, where the task can be found; a middleware costs every request about 4 us. A test
        # client starts an application again and again.
        if app.asgi and all(
            getattr(middleware, "func", None) != signals.open_early for middleware in app.request_middleware
        ):
            app.on_request(signals.open_early, priority=_FIRST)
        inject_sessions(app, lifecycle.connections)

    async def announce_workers(_app: Sanic[Any, Any]) -> None:
        lifecycle.announce_workers()

    async def start_observing(_app: Sanic[Any, Any]) -> None:
        lifecycle.start_observing()

    async def shut_down(_app: Sanic[Any, Any]) -> None:
        await lifecycle.shut_down()

    if metrics_path is not None:
        serve_metrics(app, metrics_path, lifecycle.observers)
    app.ctx.db_lifecycle = lifecycle
    app.ctx.db_contexts = contexts
    find_contexts_by(find_context_of_request)
    app.signal(Event.HTTP_LIFECYCLE_EXCEPTION, priority=_FIRST)(signals.fail)
    app.signal(Event.HTTP_LIFECYCLE_RESPONSE, priority=_FIRST)(signals.finish)
    app.signal(Event.WEBSOCKET_HANDLER_AFTER, priority=_FIRST_OF_WEBSOCKET_AFTER)(signals.finish_websocket)
    app.register_listener(prepare, "before_server_start", priority=_FIRST)
    # Not main_process_start, the listeners of which create_server() warns of; this one comes before the workers, too.
    app.register_listener(announce_workers, "main_process_ready")
    app.register_listener(start_observing, "before_server_start")
    # Listeners of a stop run in reverse order: this one is the last, after those that may still use sessions.
    app.register_listener(shut_down, "after_server_stop", priority=_FIRST)


def _require_sanic(candidate: object) -> None:
    if not isinstance(candidate, Sanic):
        raise TypeError(f"setup_db takes a Sanic application, got {candidate!r}")


def _require_changeable(app: Sanic[Any, Any]) -> None:
    if app.state.is_started:
        raise RuntimeError(
            "setup_db was called after the application had started, when Sanic ignores new signals without a word: "
            "call it where the application is made, not in a listener"
        )
    if hasattr(app.ctx, "db_lifecycle"):
        raise called_twice()
