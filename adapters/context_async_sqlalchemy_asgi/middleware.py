"""The middleware that opens a context for each request, and ends it when the application has returned."""

from collections.abc import Iterable
from typing import Unpack

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import (
    BeforeCommitCallback,
    Lifecycle,
    LifecycleOptions,
    context_or_none,
    exposition_at,
    finish,
    finish_by_status,
    leave_context,
    make_current,
)

from .base_http_middleware import install_inner_release
from .lifespan import run_lifespan
from .metrics import ScrapedApp, is_scrape
from .protocol import ASGIApp, Receive, Scope, Send
from .request_context import RequestContext, WebSocketContext
from .routes import route_of
from .starlette_error_response import respond_to_failed_commit

_CONTEXT = "context_async_sqlalchemy"


class DBContextMiddleware:
    """Gives every request of an ASGI application, and every websocket, a database context.

    It commits or rolls back when the response begins, before the last piece of a stream, and after the application
    has returned: for background tasks, and dependencies of FastAPI that end after the response. When the
    application's lifespan has ended it waits for open contexts and disposes of the engines.

    A context that is open already, a test's or a parent application's, is left alone.

    Args:
        app: the application, or the middleware inside of this one.
        lifecycle: how the contexts end.

    """

    _context_classes: dict[str, type[RequestContext]] = {"http": RequestContext, "websocket": WebSocketContext}  # noqa: RUF012 - read only

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self.app = app
        self.lifecycle = lifecycle
        install_inner_release(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, websocket or lifespan."""
        context_class = self._context_classes.get(scope["type"])
        if context_class is None:
            if scope["type"] == "lifespan":
                await run_lifespan(self.app, self.lifecycle, scope, receive, send)
            else:
                await self.app(scope, receive, send)
            return
        previous = context_or_none()
        parent = previous if previous is not None and previous.is_open else None
        # The open context of another request is not ours: a server may start a request in a copy of an earlier one's
        # contextvars, while that one's background task runs (pipelining; python/cpython#140947).
        if parent is not None and (not isinstance(parent, RequestContext) or scope.get(_CONTEXT) is parent):
            await self.app(scope, receive, send)
            return
        context = scope[_CONTEXT] = context_class(self.lifecycle, scope, send, parent)
        token = make_current(context)
        try:
            await self._serve(context, scope, receive)
            if context.sessions:
                await finish_by_status(context, context.status)
            else:
                context.end()
        except BaseException:
            await finish(context, commit=False)
            raise
        finally:
            # A client in the same process, a test's, calls the application in a task of its own that goes on.
            leave_context(token)
            # Or scope, context and the server's `send` would be garbage for the cyclic collector.
            scope.pop(_CONTEXT, None)

    async def _serve(self, context: RequestContext, scope: Scope, receive: Receive) -> None:
        try:
            await self.app(scope, receive, context.send)
        except Exception:
            if context.failure is None:
                raise
        # An application may have swallowed the failure, or have wrapped it into an error of its own.
        if context.failure is not None:
            if context.is_started:
                # The server cuts a response that is not complete when the application raises.
                raise context.failure
            await respond_to_failed_commit(context.failure, scope, receive, context.send)


class ASGIHTTPDBSessionMiddleware(DBContextMiddleware):
    """The middleware of the published library: ``DBContextMiddleware`` for HTTP only, made from options.

    Args:
        app: the application, or the middleware inside of this one.
        _before_commit: the option ``before_commit`` as the second positional argument.
        connections: disposed of at the end of the lifespan; none by default, the application closes its own.
        metrics_path: where the observer that can be scraped is served, to GET and HEAD, in place of what the
            application has there; None, the default, for nowhere: what the application serves is unknown here.
        options: ``commit_on``, ``before_commit``, ``after_commit``, ``finish_timeout``, ``drain_timeout``,
            ``observers``, ``leak_threshold`` and ``leak_stacks``; see
            :func:`context_async_sqlalchemy.setup_db`.

    Raises:
        TypeError: an element of ``connections`` is no DBConnect.
        ValueError: a connection is given twice, a time limit is not positive, ``metrics_path`` does not begin with a
            slash, or there is one and several observers can be scraped.

    """

    # It leaves websockets alone: applications open contexts of their own there.
    _context_classes = {"http": RequestContext}  # noqa: RUF012 - read only

    def __init__(
        self,
        app: ASGIApp,
        _before_commit: BeforeCommitCallback | None = None,
        connections: Iterable[DBConnect] = (),
        metrics_path: str | None = None,
        **options: Unpack[LifecycleOptions],
    ) -> None:
        if _before_commit is not None:
            options["before_commit"] = _before_commit
        super().__init__(app, Lifecycle(connections, route_of=route_of, **options))
        self._metrics_path = metrics_path or ""
        exposition = exposition_at(metrics_path, self.lifecycle.observers)
        self._scraped = None if exposition is None else ScrapedApp(exposition)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or lifespan; a scrape opens no context."""
        if self._scraped is not None and is_scrape(scope, self._metrics_path):
            await self._scraped(scope, receive, send)
            return
        await super().__call__(scope, receive, send)
