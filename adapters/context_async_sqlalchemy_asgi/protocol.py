"""The types of ASGI (https://asgi.readthedocs.io/en/latest/specs/main.html)."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


_STATUSES_WITHOUT_BODY = (204, 304)


def has_length(start: Message) -> bool:
    """Return whether the start of a response names the length of its body."""
    return any(name.lower() == b"content-length" for name, _ in start.get("headers", ()))


def is_stream(scope: Scope, status: int, start: Message) -> bool:
    """Return whether a response has a body whose length its start does not name.

    Args:
        scope: the request.
        status: the status of the response.
        start: the first message of the response.

    """
    return not has_length(start) and status not in _STATUSES_WITHOUT_BODY and scope.get("method") != "HEAD"


def kept_piece(message: Message) -> Message:
    """Return a copy of a piece of a body, because the application may use its buffer for the next piece."""
    return {**message, "body": bytes(message.get("body", b""))}
