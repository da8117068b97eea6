"""Starlette's ``BaseHTTPMiddleware``, which runs what is inside of it in a task of its own.

It passes messages on through a queue, so that ``send`` returns before the message has come outside: a stream would go
on using its session while the middleware outside commits it. So a stream is released inside.
"""

from typing import Any

from context_async_sqlalchemy.adapter_kit import context_or_none

from .protocol import ASGIApp, Message, Receive, Scope, Send, has_length
from .request_context import RequestContext

_MOST_LAYERS = 100


def install_inner_release(app: ASGIApp) -> None:
    """Put a :class:`InnerRelease` into the innermost BaseHTTPMiddleware of a chain of middlewares, if there is one.

    Args:
        app: the outermost; each has the next one as its attribute ``app``, as Starlette's own have.

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


class InnerRelease:
    """Releases the context of a stream in the task that uses it.

    An ordinary response is left to the middleware outside, which knows its final status: nothing uses its session
    while it is sent.

    Args:
        app: the application inside of the BaseHTTPMiddleware.

    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        context = context_or_none()
        if not isinstance(context, RequestContext):
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, receive, _StreamRelease(context, send).send)
        except Exception as error:
            # BaseHTTPMiddleware would end the body as if it were complete, and raise afterwards.
            if context.is_started and context.failure is None and context.transactions():
                context.failure = error
            raise


class _StreamRelease:
    """Stands between an application and ``send``; finds out whether its response is a stream."""

    def __init__(self, context: RequestContext, send: Send) -> None:
        self._context = context
        self._send = send
        self._held: Message | None = None

    async def send(self, message: Message) -> None:
        """Send a message of the application's, after the release where a stream needs one."""
        held, self._held = self._held, None
        if message["type"] == "http.response.start":
            if has_length(message):
                # The next message tells whether it is a stream.
                self._held = message
                return
            await self._release_at(message)
        elif held is not None:
            if message.get("more_body", False):
                await self._release_at(held)
            await self._send(held)
        elif self._context.is_released_inside and not message.get("more_body", False):
            await self._context.release("end")
        await self._send(message)

    async def _release_at(self, start: Message) -> None:
        self._context.is_released_inside = True
        self._context.status = start["status"]
        await self._context.release("headers")
