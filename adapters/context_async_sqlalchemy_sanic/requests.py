"""Everything that the adapter reads from Sanic's requests, or replaces on their streams.

Some of these attributes have no public name, so a new version of Sanic may rename them.
``require_known_sanic`` looks for them at set-up.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sanic import Request
from sanic import __version__ as sanic_version
from sanic.asgi import ASGIApp
from sanic.http.constants import Stage
from sanic.http.http1 import Http
from sanic.server.protocols.base_protocol import SanicProtocol

from context_async_sqlalchemy.adapter_kit import route_name
from context_async_sqlalchemy.observer import ReleaseCause

AnyRequest = Request[Any, Any]
RequestTask = asyncio.Task[Any]
Send = Callable[..., Awaitable[None]]
Callback = Callable[[int, ReleaseCause], Awaitable[object]]

_NEEDED_ATTRIBUTES: tuple[tuple[type, str], ...] = (
    (Http, "response_func"),
    (Http, "response_bytes_left"),
    (Http, "http1_response_normal"),
    (ASGIApp, "send"),
    (SanicProtocol, "_task"),
)


def require_known_sanic() -> None:
    """Refuse a version of Sanic that lacks an attribute that this file uses.

    Without the check, requests would fail one by one, or would find no open context.

    Raises:
        RuntimeError: an attribute does not exist.

    """
    for owner, name in _NEEDED_ATTRIBUTES:
        if not hasattr(owner, name):
            raise RuntimeError(
                f"setup_db needs the attribute {owner.__qualname__}.{name}, which Sanic {sanic_version} does not have: "
                "install an older Sanic, or a newer context-async-sqlalchemy"
            )


def route_of(request: AnyRequest) -> str:
    """Return the name of a request's route, for metrics and spans."""
    route = request.route
    return route_name(request.method, None if route is None else route.uri)


def headers_are_out(request: AnyRequest) -> bool:
    """Return whether the headers of the response have been sent."""
    return request.stream is not None and request.stream.stage is not Stage.HANDLER


def is_streaming(request: AnyRequest) -> bool:
    """Return whether the headers of the response have been sent, and the end of its body has not."""
    return request.stream is not None and request.stream.stage is Stage.RESPONSE


def task_of(request: AnyRequest) -> RequestTask | None:
    """Return the task that handles a request, or None if the task has ended.

    The current task may be a child of the request's task, and end before the request does. So the task of a
    connection is read from an attribute that Sanic has no public name for.

    An ASGI server's task cannot be found in this way. There the current task is the request's own, because
    ``RequestSignals.open_early`` is the first to ask.
    """
    # Sanic's annotation of `stream` leaves the ASGI class out.
    stream: Any = request.stream
    if isinstance(stream, ASGIApp):
        return asyncio.current_task()
    task: RequestTask | None = getattr(request.protocol, "_task", None)
    return task


def before_headers_and_end(stream: Any, callback: Callback) -> None:
    """Await a callback before a stream sends the headers of its response, and before the last piece of the body.

    A signal would be sent for every piece of every response (``http.lifecycle.send``). Response middleware cannot
    refuse a response, because Sanic logs the exceptions of middleware and goes on. So the function that sends is
    replaced.

    Args:
        stream: the request's stream. If it is None, or the response is complete, nothing is replaced.
        callback: awaited with the status of the response, and ``"headers"`` or ``"end"``. If it raises, the headers or
            the last piece are not sent. The connection to the client is cut if the headers are out.

    """
    if stream is None:
        return
    # An HTTP/1 stream keeps the function that sends next in `response_func`. Other streams have a method `send`.
    name = "response_func" if hasattr(stream, "response_func") else "send"
    if stream.stage is Stage.RESPONSE:
        _before_end(stream, name, callback)
    if stream.stage is not Stage.HANDLER:
        return
    send_headers: Send = getattr(stream, name)

    async def call_back_and_send(*args: Any, **kwargs: Any) -> None:
        setattr(stream, name, send_headers)
        if stream.response is not None:
            await callback(stream.response.status, "headers")
        await send_headers(*args, **kwargs)
        if stream.stage is Stage.RESPONSE:
            _before_end(stream, name, callback)

    setattr(stream, name, call_back_and_send)


def _before_end(stream: Any, name: str, callback: Callback) -> None:
    """Await a callback before a stream sends the last piece of its body, because the client then has all of it."""
    send: Send = getattr(stream, name)
    if getattr(stream, "head_only", False):
        # The response to a HEAD request is complete with its headers.
        return
    # A body of known length is complete with its last byte. An ASGI server counts the bytes itself. So there each piece
    # is held back until the next one, because the last byte may be in it.
    counts = name == "response_func" and send == stream.http1_response_normal
    holds = name == "send" and "content-length" in stream.response.headers
    held: Any = None

    async def call_back_and_send(data: Any, end_stream: bool) -> None:  # noqa: FBT001 - the signature is Sanic's
        nonlocal held
        if end_stream or (counts and len(data) >= stream.response_bytes_left):
            setattr(stream, name, send)
            try:
                await callback(stream.response.status, "end")
            except BaseException:
                cut_connection(stream.request)
                raise
        earlier, held = held, None
        if earlier is not None:
            await send(earlier, end_stream=False)
        if holds and not end_stream:
            # A copy, because the application may use its buffer for the next piece.
            held = data if isinstance(data, str) else bytes(data)
        else:
            await send(data, end_stream)

    setattr(stream, name, call_back_and_send)


def cut_connection(request: AnyRequest) -> bool:
    """Cut the connection to the client; return whether the connection is cut.

    An ASGI server gives no access to its connection. The server cuts the connection itself when the application
    raises.
    """
    abort = getattr(request.transport, "abort", None)
    if abort is None:
        return False
    abort()
    return True
