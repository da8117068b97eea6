"""The context of a Sanic request: opened and ended by signals, released when headers go.

All requests of a connection are handled in one task, and no signal is sent for every request: a stream or a websocket
that is cancelled, a forced shutdown and an ASGI server's cancellation end without one (sanic 25.12, see
``Sanic.handle_request`` and ``HttpProtocol.connection_task``). There the end of the task ends the context.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sanic import Request, SanicException
from sanic.http.constants import Stage
from sanic.response import BaseHTTPResponse
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy.connect import DBConnect
from context_async_sqlalchemy.context import Context, context_or_none, make_current
from context_async_sqlalchemy.finishing import finish, finish_by_status, release_by_status
from context_async_sqlalchemy.lifecycle import Lifecycle, logger
from context_async_sqlalchemy.routes import route_name

AnyRequest = Request[Any, Any]
_FIRST_ERROR_STATUS = 400
Send = Callable[..., Awaitable[None]]


class RequestContext(Context):
    """A context that releases its connections before the headers of its request's response are sent."""

    __slots__ = ("_task",)

    def __init__(self, lifecycle: Lifecycle, request: AnyRequest, outer: Context | None) -> None:
        super().__init__(lifecycle, outer, request)
        self._task = asyncio.current_task()
        if self._task is not None:
            self._task.add_done_callback(self._end_with_the_task)

    def put(self, connect: DBConnect, session: AsyncSession) -> None:
        """Take a session over; with the first one, watch for the headers."""
        if not self.sessions and self.owner is not None:
            _release_before_headers(self, self.owner)
        super().put(connect, session)

    def end_unused(self) -> None:
        """End, and do not wait for the task any more."""
        super().end_unused()
        if self._task is not None:
            self._task.remove_done_callback(self._end_with_the_task)
            self._task = None
        if context_or_none() is self:
            # The task goes on with other requests, or is a test's own. Tasks that outlive this request have a
            # contextvars.Context of their own, find the ended context there, and are told so.
            make_current(None)

    def _end_with_the_task(self, _task: asyncio.Task[Any]) -> None:
        if self.is_open:
            cleanup = asyncio.ensure_future(finish(self, commit=False))
            _cleanups.add(cleanup)
            cleanup.add_done_callback(_cleanups.discard)


_cleanups: set[asyncio.Task[None]] = set()


class RequestContexts:
    """The signal handlers of one application.

    Args:
        lifecycle: how its contexts end.

    """

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def open(self, request: AnyRequest, **_: Any) -> None:
        """Open the request's context; one that a test has opened in the same task is respected."""
        current = context_or_none()
        if current is not None and current.is_open:
            if not isinstance(current, RequestContext):
                return
            if current.owner is request:
                return
            # An earlier request of the connection that got no signal at its end.
            await finish(current, commit=False)
        make_current(RequestContext(self._lifecycle, request, None))

    async def fail(self, request: AnyRequest, exception: Exception, **_: Any) -> None:
        """Roll back after an exception: the error handler finds a clean session, and nothing is committed any more.

        An answer that is raised with a status that commits is left to ``finish``.
        """
        context = _context_of(request)
        if context is None or self._is_success(exception):
            return
        context.rollback_only = True
        if not context.sessions:
            return
        if _headers_are_out(request):
            # No signal follows. Sanic ends a chunked body as if it were complete, although work of it is lost.
            loses_work = bool(context.transactions())
            await finish(context, commit=False)
            if loses_work:
                _cut(request)
        else:
            await release_by_status(context, 500)

    def _is_success(self, exception: Exception) -> bool:
        return isinstance(exception, SanicException) and exception.status_code < _FIRST_ERROR_STATUS

    async def finish(self, request: AnyRequest, response: BaseHTTPResponse, **_: Any) -> None:
        """End the context after all middleware, before an ordinary response is sent: a failing commit is a 500."""
        context = _context_of(request)
        if context is None:
            return
        if not context.sessions:
            context.end_unused()
            return
        try:
            await finish_by_status(context, response.status)
        except Exception:
            if not _headers_are_out(request) or not _cut(request):
                raise
            logger.exception("a commit at the end of a stream failed: its connection to the client is cut")

    async def finish_websocket(self, request: AnyRequest, **_: Any) -> None:
        """Commit what a websocket handler left open when it returned; its task ends the context otherwise."""
        context = _context_of(request)
        if context is not None:
            await finish(context, commit=True)


def route_of(request: AnyRequest) -> str:
    """Name the route of a request."""
    route = request.route
    return route_name(request.method, None if route is None else route.uri)


def _context_of(request: AnyRequest) -> RequestContext | None:
    context = context_or_none()
    if isinstance(context, RequestContext) and context.owner is request:
        return context
    return None


def _headers_are_out(request: AnyRequest) -> bool:
    return request.stream is not None and request.stream.stage is not Stage.HANDLER


def _cut(request: AnyRequest) -> bool:
    abort = getattr(request.transport, "abort", None)
    if abort is None:
        # An ASGI server cuts the connection itself when the application raises.
        return False
    abort()
    return True


def _release_before_headers(context: RequestContext, request: Any) -> None:
    """Put ourselves before the function by which this request's stream sends its headers.

    A signal would see every piece of every response (``http.lifecycle.send``), response middleware cannot refuse
    (Sanic logs its exceptions and goes on).
    """
    stream = request.stream
    if stream is None or stream.stage is not Stage.HANDLER:
        return
    # HTTP/1 keeps the function of the moment in `response_func`; HTTP/3 and ASGI have a method `send`.
    name = "response_func" if hasattr(stream, "response_func") else "send"
    send_headers: Send = getattr(stream, name)

    async def release_and_send(*args: Any, **kwargs: Any) -> None:
        setattr(stream, name, send_headers)
        if stream.response is not None:
            await release_by_status(context, stream.response.status)
        await send_headers(*args, **kwargs)

    setattr(stream, name, release_and_send)
