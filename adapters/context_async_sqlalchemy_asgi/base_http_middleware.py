"""How a stream inside Starlette's ``BaseHTTPMiddleware`` is committed, and cut.

``BaseHTTPMiddleware`` runs the application inside it in a separate task, and passes messages on through a queue. So
``send`` returns before the message reaches the database middleware, and a stream goes on using its session. The
database middleware must not commit that session at the same time. So :class:`InnerRelease` commits in the inner task.

If the application inside raises, ``BaseHTTPMiddleware`` ends the body as if it were complete, and raises the exception
only then. So :func:`prevent_end` makes one that stands outside of the database middleware fail before that.
"""

from contextlib import suppress
from typing import Any

from context_async_sqlalchemy.adapter_kit import context_or_none
from context_async_sqlalchemy.observer import ReleaseCause

from .protocol import ASGIApp, Message, Receive, Scope, Send, has_length, is_stream, kept_piece
from .request_context import RequestContext

_MOST_LAYERS = 100


def install_inner_release(app: ASGIApp) -> None:
    """Put an :class:`InnerRelease` into the innermost BaseHTTPMiddleware of a chain, if the chain has any.

    Args:
        app: the outermost middleware. A middleware has the next one as its attribute ``app``, as Starlette's have.

    """
    innermost: Any = None
    layer: Any = app
    for _ in range(_MOST_LAYERS):
        if any(base.__module__ == "starlette.middleware.base" for base in type(layer).__mro__):
            innermost = layer
        layer = getattr(layer, "app", None)
        if layer is None:
            break
    if innermost is not None and not isinstance(innermost.app, InnerRelease):
        innermost.app = InnerRelease(innermost.app)


async def prevent_end(send: Send, error: Exception) -> None:
    """Make a BaseHTTPMiddleware outside raise an error, in place of ending a response that has begun.

    The middleware gets a piece of the body that no server can send. The attempt raises the error in the middleware's
    own task, so the server cuts the connection. Without such a middleware the server raises it here. That is
    ignored, because the caller raises the error too.

    Args:
        send: the function that the database middleware sends with.
        error: what the application has raised.

    """
    with suppress(Exception):
        await send({"type": "http.response.body", "body": _Unsendable(error), "more_body": True})


class _Unsendable:
    """A piece of a body that is not empty, and raises an error for the server that asks for its bytes."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        raise self._error

    def __bytes__(self) -> bytes:
        raise self._error


class InnerRelease:
    """Releases the context of a stream in the task that uses the context.

    The database middleware outside releases the context of an ordinary response. It knows the final status, and
    nothing uses the session while the response is sent.

    Args:
        app: the application inside the BaseHTTPMiddleware.

    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        context = context_or_none()
        if not isinstance(context, RequestContext):
            await self.app(scope, receive, send)
            return
        release = _StreamRelease(context, scope, send)
        try:
            await self.app(scope, receive, release.send)
        except Exception as error:
            # BaseHTTPMiddleware ends the body as if the body were complete, and raises the error afterwards. A failure
            # makes the context refuse that end.
            if context.is_started and context.failure is None and context.transactions():
                context.failure = error
            raise
        finally:
            if release.is_incomplete:
                # The client has left, and BaseHTTPMiddleware ends the body nevertheless.
                context.rollback_only = True


class _StreamRelease:
    """Replaces ``send`` for an application, and releases the context if the response is a stream.

    Attributes:
        is_incomplete: whether a stream has been begun whose last piece has not been sent.

    """

    def __init__(self, context: RequestContext, scope: Scope, send: Send) -> None:
        self.is_incomplete = False
        self._scope = scope
        self._context = context
        self._send = send
        # The start of a response, or a piece of a body of known length, which is sent after the next message is known.
        self._held: Message | None = None
        self._has_length = False

    async def send(self, message: Message) -> None:
        """Send a message of the application, after the release if a stream needs one."""
        held, self._held = self._held, None
        if message["type"] == "http.response.start":
            if is_stream(self._scope, message["status"], message):
                await self._release_at(message, "headers")
            else:
                # The start is held back, because only the next message shows whether the session is used any more.
                self._held = message
                return
        elif held is not None:
            if message.get("more_body", False) and not self.is_incomplete:
                self._has_length = has_length(held)
                await self._release_at(held, "headers" if self._scope["method"] != "HEAD" else "end")
            await self._end_before(message)
            await self._send(held)
        else:
            await self._end_before(message)
        if self.is_incomplete and self._has_length:
            # The client treats a body of known length as complete with its last byte, which may be in this piece.
            self._held = kept_piece(message)
        else:
            await self._send(message)

    async def _end_before(self, message: Message) -> None:
        """Release before the last piece of a stream, if the message is that piece."""
        if self.is_incomplete and not message.get("more_body", False):
            self.is_incomplete = False
            await self._context.release("end")

    async def _release_at(self, start: Message, cause: ReleaseCause) -> None:
        self._context.is_released_inside = self.is_incomplete = True
        self._context.status = start["status"]
        await self._context.release(cause)
