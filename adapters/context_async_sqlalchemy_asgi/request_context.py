"""The context of an ASGI request: it stands between the application and the server's ``send``."""

from collections.abc import Awaitable

from context_async_sqlalchemy.adapter_kit import Context, Lifecycle, Work, release_by_status, stand_ins
from context_async_sqlalchemy.observer import ReleaseCause

from .protocol import Message, Scope, Send, has_length

_NOT_ANSWERED = 500
_SWITCHING_PROTOCOLS = 101
_FORBIDDEN = 403


class RequestContext(Context):
    """A context that is committed or rolled back before its response begins, and before the end of a stream.

    Args:
        lifecycle: how it ends.
        scope: the request.
        send: the server's.
        parent: the open context of another request, within which this one is made by a client in the same process.

    Attributes:
        status: of the response; 500 before there is one.
        is_started: the response has begun to leave.
        is_released_inside: another part of the application releases; see ``base_http_middleware``.
        failure: why the response, or the rest of it, must not leave: a commit that failed.

    """

    __slots__ = ("_released_stand_ins", "_send", "failure", "is_released_inside", "is_started", "status")

    def __init__(self, lifecycle: Lifecycle, scope: Scope, send: Send, parent: Context | None) -> None:
        super().__init__(lifecycle, parent, scope)
        self._send = send
        self.status = _NOT_ANSWERED
        self.is_started = False
        self.is_released_inside = False
        self.failure: Exception | None = None
        self._released_stand_ins: Work = []

    @property
    def response_has_begun(self) -> bool:
        """Whether a part of the response has been sent."""
        return self.is_started

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the application's, after the release where one is due."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not self.sessions:
                self.is_started = True
                return self._send(message)
            return self._begin(message)
        if not self.sessions or not self.is_started:
            return self._send(message)
        return self._go_on(message)

    async def release(self, cause: ReleaseCause) -> None:
        """Commit or roll back by the status; after a failure nothing is committed any more."""
        try:
            await release_by_status(self, self.status, cause)
        except Exception as error:
            self.failure = error
            self.rollback_only = True
            raise
        self._released_stand_ins += stand_ins(self)

    def transactions(self) -> Work:
        """Return the sessions that are in a transaction; a mock may say so for ever, and is released once."""
        work = super().transactions()
        return [entry for entry in work if entry not in self._released_stand_ins] if self._released_stand_ins else work

    async def _begin(self, message: Message) -> None:
        if not self.is_released_inside:
            await self.release("end" if has_length(message) else "headers")
        # After a failure this is the application's own answer to it.
        self.failure = None
        self.is_started = True
        await self._send(message)

    async def _go_on(self, message: Message) -> None:
        # Before the last piece of a body: a client that has got it takes the response for complete.
        if self.failure is None and not self.is_released_inside and not message.get("more_body", False):
            await self.release("end")
        if self.failure is not None:
            raise self.failure
        await self._send(message)


class WebSocketContext(RequestContext):
    """The same for a websocket: released at the handshake. After it the unit is the message, by ``db_context``."""

    __slots__ = ()

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the application's, after the release if it is the answer to the handshake."""
        if self.is_started:
            return self._send(message)
        match message["type"]:
            case "websocket.accept":
                self.status = _SWITCHING_PROTOCOLS
            case "websocket.close":
                self.status = _FORBIDDEN
            case "websocket.http.response.start":
                self.status = message["status"]
            case _:
                return self._send(message)
        return self._begin(message)
