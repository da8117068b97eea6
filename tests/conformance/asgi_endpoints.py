"""A handler of a conformance case as an endpoint of Starlette and FastAPI."""

import asyncio
from collections.abc import Awaitable, Callable

import anyio
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketDisconnect

from tests.conformance.driver import Exchange, Handler, Reply, Stream, WebSocket


class _AsgiStream(Stream):
    def __init__(self, send: Send) -> None:
        self._send = send

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


class _AsgiWebSocket(WebSocket):
    def __init__(self, websocket: StarletteWebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str | None:
        try:
            return await self._websocket.receive_text()
        except WebSocketDisconnect:
            return None

    async def send(self, message: str) -> None:
        await self._websocket.send_text(message)


class _AsgiExchange(Exchange):
    def __init__(self, send: Send | None, websocket: StarletteWebSocket | None = None) -> None:
        self._send = send
        self._websocket = websocket
        self.is_streaming = False

    async def stream(self, status: int = 200, *, compressed: bool = False) -> Stream:
        assert self._send is not None
        headers = [(b"content-encoding", b"gzip")] if compressed else []
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        self.is_streaming = True
        return _AsgiStream(self._send)

    async def websocket(self) -> WebSocket:
        assert self._websocket is not None
        await self._websocket.accept()
        return _AsgiWebSocket(self._websocket)

    def answer_by_raising(self, status: int) -> BaseException:
        return HTTPException(status, headers={"location": "/elsewhere"})


class _EndOfStream(Response):
    """What an endpoint returns that has streamed: the last piece."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        if self.background is not None:
            await self.background()


def as_endpoint(handler: Handler, background: BackgroundTask | None) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that answers by a handler."""

    async def endpoint(request: Request) -> Response:
        exchange = _AsgiExchange(request._send)  # pyright: ignore[reportPrivateUsage] - a response is streamed by hand
        reply = await _cancelled_when_the_client_hangs_up(request, handler(exchange))
        if isinstance(reply, Reply):
            return PlainTextResponse(reply.body, reply.status, background=background)
        return _EndOfStream(background=background)

    return endpoint


async def _cancelled_when_the_client_hangs_up(request: Request, work: Awaitable[Reply | None]) -> Reply | None:
    """Do what ``StreamingResponse`` does: servers tell an ASGI application of a client that is gone, no more."""

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    listener = asyncio.create_task(listen())
    try:
        with anyio.CancelScope() as scope:
            return await work
    finally:
        listener.cancel()
        await asyncio.wait([listener])
    raise ClientDisconnect


def as_websocket_endpoint(handler: Handler) -> Callable[[StarletteWebSocket], Awaitable[None]]:
    """Return an endpoint whose websockets a handler serves."""

    async def endpoint(websocket: StarletteWebSocket) -> None:
        await handler(_AsgiExchange(None, websocket))

    return endpoint
