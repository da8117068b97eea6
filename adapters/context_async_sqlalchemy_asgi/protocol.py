"""The types of ASGI (https://asgi.readthedocs.io/en/latest/specs/main.html)."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def has_length(start: Message) -> bool:
    """Return whether the start of a response names its length; a response without a length is a stream."""
    return any(name.lower() == b"content-length" for name, _ in start.get("headers", ()))
