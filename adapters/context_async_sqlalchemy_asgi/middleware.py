"""The middleware that opens a context for each request, and ends the context after the application has returned."""

from collections.abc import Callable, Iterable
from typing import Unpack

from context_async_sqlalchemy import DBConnect, PoolOverloadedError
from context_async_sqlalchemy.adapter_kit import (
    BeforeCommitCallback,
    Context,
    Lifecycle,
    LifecycleOptions,
    context_or_none,
    finish,
    finish_by_status,
    kind_of,
    leave_context,
    make_current,
)

from .base_http_middleware import install_inner_release, prevent_end
from .lifespan import run_lifespan
from .overload import answer_overload
from .protocol import ASGIApp, Receive, Scope, Send
from .request_context import RequestContext, WebSocketContext
from .resources import Resources
from .routes import route_of
from .starlette_error_response import respond_to_failed_commit

_CONTEXT = "context_async_sqlalchemy"


class DBContextMiddleware:
    """Gives every request and every websocket of an ASGI application a database context.

    The middleware commits or rolls back when the response begins, and before the last piece of a stream. It does so
    again after the application has returned, for background tasks and for dependencies of FastAPI that end late. If the
    application has returned before the response was complete, the middleware rolls back.
    After the application's lifespan it waits for open contexts, and disposes of the engines.

    If a test or a parent application has opened a context, the middleware leaves that context alone.

    Args:
        app: the application, or the next middleware inside.
        lifecycle: the rules by which the contexts end.
        require_sound: called after the application's startup code. If it raises, the server does not start.

    Raises:
        TypeError: ``app`` is not callable, or ``lifecycle`` is not a Lifecycle.

    """

    _context_classes: dict[str, type[RequestContext]] = {"http": RequestContext, "websocket": WebSocketContext}  # noqa: RUF012 - read only

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, require_sound: Callable[[], None] = lambda: None) -> None:
        _check(app, lifecycle)
        self.app = app
        self.lifecycle = lifecycle
        self._require_sound = require_sound
        install_inner_release(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, websocket or lifespan."""
        context_class = self._context_classes.get(scope["type"])
        if context_class is None:
            if scope["type"] == "lifespan":
                await run_lifespan(self.app, self.lifecycle, self._require_sound, scope, receive, send)
            else:
                await self.app(scope, receive, send)
            return
        previous = context_or_none()
        parent = previous if previous is not None and previous.is_open else None
        if parent is not None and _is_for(scope, parent):
            await self.app(scope, receive, send)
            return
        context = scope[_CONTEXT] = context_class(self.lifecycle, scope, send, parent)
        token = make_current(context)
        try:
            await self._serve(context, scope, receive, send)
            if not context.sessions:
                context.end()
            elif context.is_complete:
                await finish_by_status(context, context.status)
            else:
                # The client has left in the middle, so the application was stopped in the middle of its work.
                await finish(context, commit=False)
        except PoolOverloadedError as error:
            await finish(context, commit=False)
            if not (self.lifecycle.answer_503 and await answer_overload(error, context, scope, send)):
                raise
        except BaseException:
            await finish(context, commit=False)
            raise
        finally:
            # The previous context becomes current again, because a test's client in the same process may have called
            # the application in its own task, which goes on.
            leave_context(token)
            # The reference is removed, because otherwise scope, context and `send` would form a reference cycle.
            scope.pop(_CONTEXT, None)
            # A connection that was made during the request keeps the ended context, and a failure keeps its frames.
            context.failure = None

    async def _serve(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, context.send)
        except Exception as error:
            if context.failure is None:
                if context.sessions:
                    await finish(context, commit=False)
                    if context.is_started and not context.is_complete:
                        await prevent_end(send, error)
                raise
        # The failure is read from the context, because the application may have caught or replaced the exception.
        if context.failure is not None:
            if context.is_started:
                # If the application raises, the server cuts a response that is not complete.
                await finish(context, commit=False)
                await prevent_end(send, context.failure)
                raise context.failure
            await respond_to_failed_commit(context.failure, scope, receive, context.send)


def _check(app: object, lifecycle: object) -> None:
    if not callable(app):
        raise TypeError(f"the middleware takes an ASGI application: got {kind_of(app)}")
    if not isinstance(lifecycle, Lifecycle):
        raise TypeError(f"the middleware takes a Lifecycle, which has the rules: got {kind_of(lifecycle)}")


def _is_for(scope: Scope, current: Context) -> bool:
    """Return whether a request belongs to the context that is current where the request begins.

    A server that pipelines may start a request with a copy of the previous request's contextvars, when the response of
    the previous request is complete (python/cpython#140947). The previous request's contexts may still be open then:
    its own, while a background task runs, and those that its code has opened.

    Args:
        scope: the request.
        current: the current context, which is open.

    """
    context: Context | None = current
    while context is not None:
        if isinstance(context, RequestContext):
            if scope.get(_CONTEXT) is context:
                return True
            # A handler may have opened a context around a client in the same process.
            return context is not current and (isinstance(context, WebSocketContext) or not context.is_complete)
        context = context.parent
    return True


class ASGIHTTPDBSessionMiddleware(DBContextMiddleware):
    """The middleware of the published library, for HTTP only.

    Args:
        app: the application, or the next middleware inside.
        _before_commit: the option ``before_commit`` as the second positional argument.
        connections: the databases whose engines are disposed of at the end of the lifespan. By default none, and the
            application closes its connections itself.
        metrics_path: the path at which the middleware answers GET and HEAD with the metrics, even if the application
            has a route there. None, the default, serves no metrics.
        options: see :func:`context_async_sqlalchemy.setup_db`.

    Raises:
        TypeError: an element of ``connections`` is not a DBConnect.
        ValueError: a connection is given twice, a time limit is not positive, ``metrics_path`` does not begin with a
            slash, or several observers can be scraped at it, or none.

    """

    # Websockets are left out, because applications of the published library open contexts there themselves.
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
        self._resources = Resources(self.lifecycle.resources(metrics_path))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or lifespan; a request for a resource, such as a scrape, gets no context."""
        resource = self._resources.asked_for(scope)
        if resource is None:
            await super().__call__(scope, receive, send)
        else:
            await resource(scope, receive, send)
