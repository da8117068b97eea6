"""Setting a Quart application up."""

from collections.abc import Iterable
from typing import Any, Unpack

from quart import Quart, Response, has_request_context, request

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import (
    Lifecycle,
    LifecycleOptions,
    called_twice,
    exposition_at,
    path_taken,
    rendered,
    route_name,
)
from context_async_sqlalchemy.observer import Observer

from .metrics import METHODS, ROUTE_NAME
from .middleware import DBContextMiddleware
from .protocol import Scope

_EXTENSION = "context_async_sqlalchemy"


def setup_db(
    app: Quart,
    connections: Iterable[DBConnect],
    *,
    metrics_path: str | None = "/metrics",
    **options: Unpack[LifecycleOptions],
) -> None:
    """Give every request of a Quart application, and every websocket, a database context.

    A commit that fails is answered by the server, not by the application's error handlers: Quart sends a response
    after they have run.

    Args:
        app: the application, before it starts.
        connections: disposed of when the application stops, after its own shutdown code and its last request.
        metrics_path: where the observer that can be scraped is served, as a route like any other; None for nowhere.
        options: ``commit_on``, ``before_commit``, ``after_commit``, ``finish_timeout``, ``drain_timeout``,
            ``observers``, ``leak_threshold`` and ``leak_stacks``; see
            :func:`context_async_sqlalchemy.setup_db`.

    Raises:
        TypeError: ``app`` is no ``Quart``, or an element of ``connections`` no DBConnect.
        ValueError: a connection is given twice, or a time limit is not positive.
        RuntimeError: the application was set up before, or has a route at ``metrics_path``; raised when the application
            starts if the other route is added later.

    """
    _require_changeable(app)
    lifecycle = Lifecycle(connections, route_of=_route_of, **options)
    if metrics_path is not None:
        _serve_metrics(app, metrics_path, lifecycle.observers)
    app.extensions[_EXTENSION] = lifecycle
    application: Any = app  # a method is replaced, as Quart documents it for middleware
    application.asgi_app = DBContextMiddleware(application.asgi_app, lifecycle)


def _serve_metrics(app: Quart, path: str, observers: Iterable[Observer]) -> None:
    exposition = exposition_at(path, observers)
    if exposition is None:
        return

    async def scrape() -> Response:
        asked = request.headers
        headers, body = await rendered(exposition, asked.get("Accept", ""), asked.get("Accept-Encoding", ""))
        return Response(body, headers=dict(headers))

    async def require_still_free() -> None:
        _require_free(app, path)

    _require_free(app, path)
    app.add_url_rule(path, ROUTE_NAME, scrape, methods=list(METHODS), provide_automatic_options=False)
    app.before_serving(require_still_free)


def _require_free(app: Quart, path: str) -> None:
    """Refuse a second rule of the same path: Quart serves the first, and says nothing."""
    for rule in app.url_map.iter_rules():
        methods = rule.methods
        if rule.endpoint != ROUTE_NAME and rule.rule == path and (methods is None or methods.intersection(METHODS)):
            raise path_taken(path, repr(rule))


def _route_of(scope: Scope) -> str:
    rule = request.url_rule if has_request_context() else None
    return route_name(scope.get("method", "GET"), None if rule is None else rule.rule)


def _require_changeable(app: object) -> None:
    if not isinstance(app, Quart):
        raise TypeError(f"setup_db takes a Quart application, got {app!r}")
    if _EXTENSION in app.extensions:
        raise called_twice()
