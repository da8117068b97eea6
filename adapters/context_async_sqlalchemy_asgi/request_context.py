"""The context of an ASGI request, which replaces ``send`` for the application."""

from collections.abc import Awaitable
from typing import Any

from context_async_sqlalchemy.adapter_kit import TRY_AGAIN_LATER, Context, Rules, Work, release_by_status, stand_ins
from context_async_sqlalchemy.observer import ReleaseCause

from .protocol import Message, Scope, Send, has_length, is_stream, kept_piece

_NOT_ANSWERED = 500
_SWITCHING_PROTOCOLS = 101
_FORBIDDEN = 403


class RequestContext(Context):
    """A context that commits or rolls back before its response begins, and before the end of a stream.

    Args:
        rules: the rules by which the context ends.
        scope: the request, which owns the context.
        send: sends a message to the server.
        parent: the open context of another request. Its handler has called this application in the same process.

    Attributes:
        status: the status of the response, or 500 before the response has begun.
        is_started: whether a part of the response has been sent.
        is_complete: whether the application has sent the last piece of the response, or has answered the handshake of a
            websocket. Servers and frameworks end an application without an exception when its client leaves.
        is_released_inside: whether an ``InnerRelease`` releases this context; see ``base_http_middleware``.
        failure: the exception because of which the rest of the response must not be sent, or None.

    """

    def __init__(self, rules: Rules, scope: Scope, send: Send, parent: Context | None) -> None:
        super().__init__(rules, parent, scope)
        self._send = send
        self.status = _NOT_ANSWERED
        self.is_started = False
        self.is_complete = False
        self.is_released_inside = False
        self.failure: Exception | None = None
        self._released_stand_ins: Work = []
        self._start: Message | None = None
        # A piece of a body of known length, which is sent after the next one is known, or after the last release.
        self._held: Message | None = None

    @property
    def response_has_begun(self) -> bool:
        """Whether a part of the response has been sent."""
        return self.is_started

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the application, after a release if the message needs one."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._start = message
            if not self.sessions:
                self.is_started = True
                return self._send(message)
            return self._begin(message)
        if not self.is_started:
            return self._send(message)
        if not message.get("more_body", False):
            self.is_complete = True
        if not self.sessions and self._held is None:
            return self._send(message)
        return self._go_on(message)

    async def release(self, cause: ReleaseCause) -> None:
        """Commit or roll back by the status; after a failure, commit nothing more of this context."""
        try:
            released = await release_by_status(self, self.status, cause)
        except Exception as error:
            self.failure = error
            self.rollback_only = True
            raise
        self._released_stand_ins += stand_ins(released)

    def transactions(self) -> Work:
        """Return the sessions that are in a transaction.

        A mock session may always report a transaction, so a mock session is released only once.
        """
        work = super().transactions()
        return [entry for entry in work if entry not in self._released_stand_ins] if self._released_stand_ins else work

    async def _begin(self, message: Message) -> None:
        if not self.is_released_inside:
            scope: Any = self.owner
            await self.release("headers" if is_stream(scope, self.status, message) else "end")
        # After a failure this response is the application's answer to that failure, so it may be sent.
        self.failure = None
        self.is_started = True
        await self._send(message)

    async def _go_on(self, message: Message) -> None:
        # The release precedes the last piece of a body, because the client then treats the response as complete.
        if self.failure is None and self.is_complete and not self.is_released_inside:
            await self.release("end")
        if self.failure is not None:
            raise self.failure
        held, self._held = self._held, None
        if held is not None:
            await self._send(held)
        if not self.is_complete and not self.is_released_inside and self._start is not None and has_length(self._start):
            # The client treats a body of known length as complete with its last byte, which may be in this piece.
            self._held = kept_piece(message)
        else:
            await self._send(message)


class WebSocketContext(RequestContext):
    """The context of a websocket, which is released at the handshake.

    After the handshake a unit of work is a message: the handler opens a context for each by ``db_context``.

    Attributes:
        is_shed: whether the framework closes the websocket because of a ``PoolOverloadedError``.

    """

    def __init__(self, rules: Rules, scope: Scope, send: Send, parent: Context | None) -> None:
        super().__init__(rules, scope, send, parent)
        self.is_shed = False

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the application, after a release if the message answers the handshake."""
        if self.is_started:
            if self.is_shed and message["type"] == "websocket.close":
                message = {**message, "code": TRY_AGAIN_LATER, "reason": "overloaded"}
            return self._send(message)
        match message["type"]:
            case "websocket.accept":
                self.status = _SWITCHING_PROTOCOLS
            case "websocket.close":
                if self.failure is not None:
                    # Most frameworks close a websocket whose handler has raised, and servers make a 403 of that. The
                    # middleware raises the failure, and servers make a 500 of it. It is raised here too, because
                    # Quart (0.23) goes on reading messages after it has closed the websocket.
                    raise self.failure
                self.status = _FORBIDDEN
            case "websocket.http.response.start":
                self.status = message["status"]
            case _:
                return self._send(message)
        self.is_complete = True
        return self._begin(message)
