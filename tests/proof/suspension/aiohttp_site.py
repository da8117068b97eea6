"""Scenarios over HTTP: an aiohttp server, and a client that may hang up wherever the handler waits."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientConnectionResetError, WSMsgType, web
from aiohttp.typedefs import Handler

from context_async_sqlalchemy import db_context, db_session
from tests.proof.sweeping.kinds import Kind
from tests.proof.sweeping.points import Meter
from tests.proof.sweeping.stage import Stage, Telling
from tests.proof.sweeping.world import Site, World

_FIRST_ERROR_STATUS = 400
_MESSAGES = ("first", "second")


class Client(asyncio.Protocol):
    """Makes one request, and looks at the rows when the first byte of the answer comes.

    Args:
        request: what to send at once.
        frames: what to send after the first bytes of the answer.
        on_status: is given the status of the answer, while no task can go on.

    """

    def __init__(self, request: bytes, frames: bytes, on_status: Callable[[int], None]) -> None:
        self._request = request
        self._frames = frames
        self._on_status = on_status
        self._has_answer = False
        self.transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._has_answer:
            self._has_answer = True
            self._on_status(int(data.split(b" ", 2)[1]))
            if self._frames and self.transport is not None:
                self.transport.write(self._frames)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.lost.set()

    def hang_up(self) -> None:
        """Reset the connection."""
        if self.transport is not None:
            self.transport.abort()


@dataclass(eq=False)
class Exchange:
    """One request."""

    stage: Stage
    meter: Meter
    client: Client | None = None
    handler: "asyncio.Task[Any] | None" = None
    told: Telling | None = None
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)


class HttpKind(Kind):
    """A way of cancelling a handler."""

    exchange: Exchange | None = None

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        await work

    @property
    def _handler(self) -> "asyncio.Task[Any] | None":
        return None if self.exchange is None else self.exchange.handler

    def strike_again(self) -> None:
        if self._handler is not None and self._handler.cancel():
            self.has_cancelled = True

    def explains(self, error: BaseException | None) -> bool:
        return error is None


class HangUp(HttpKind):
    """The client resets its connection; for a second time, the server cancels the handler as it shuts down."""

    name = "hang-up"

    def strike(self) -> None:
        if self.exchange is not None and self.exchange.client is not None:
            self.exchange.client.hang_up()


class HandlerCancel(HttpKind):
    """The server cancels the handler."""

    name = "shutdown"

    def strike(self) -> None:
        self.strike_again()


HTTP_KINDS: list[type[Kind]] = [HangUp, HandlerCancel]

SiteHandler = Callable[[Exchange, web.Request], Awaitable[web.StreamResponse]]


class AiohttpSite(Site):
    """A handler on an aiohttp server with ``handler_cancellation``.

    Args:
        handler: of the request.
        units: those of the request itself, which end with it.

    """

    def __init__(self, handler: SiteHandler, *units: str) -> None:
        self._handler = handler
        self._units = units
        self._exchange: Exchange | None = None

    def add_to(self, app: web.Application) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handler(self._current, request)

        app.router.add_get("/", handle)
        # Around the library's own, so that the end of its context is measured.
        app.middlewares.insert(0, self._measure)

    async def visit(self, world: World, stage: Stage, meter: Meter, kind: Kind) -> None:
        assert isinstance(kind, HttpKind)
        exchange = self._exchange = kind.exchange = Exchange(stage, meter)

        def look(status: int) -> None:
            if status < _FIRST_ERROR_STATUS and exchange.told is not None and self._units:
                stage.require_visible(exchange.told.units[self._units[0]])

        is_conversation = self._handler is converse
        client = exchange.client = Client(
            _UPGRADE if is_conversation else _GET, _FRAMES if is_conversation else b"", look
        )
        await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", world.port)
        await client.lost.wait()
        await exchange.has_ended.wait()

    @property
    def _current(self) -> Exchange:
        assert self._exchange is not None
        return self._exchange

    @web.middleware
    async def _measure(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        exchange = self._current
        exchange.handler = asyncio.current_task()

        async def handle() -> web.StreamResponse:
            return await handler(request)

        try:
            with exchange.stage.told(*self._units) as exchange.told:
                try:
                    return await exchange.meter.measure(handle())
                except ClientConnectionResetError:
                    # So aiohttp says that the client has hung up, if the handler writes before it is cancelled.
                    exchange.told.gone()
                    raise
        finally:
            exchange.has_ended.set()


async def answer(exchange: Exchange, _request: web.Request) -> web.StreamResponse:
    """Write, and answer."""
    await exchange.stage.write("unit", 1)
    await exchange.stage.add("unit", 2)
    return web.Response(text="written")


async def stream(exchange: Exchange, request: web.Request) -> web.StreamResponse:
    """Write before the header and while the body is sent: two units."""
    await exchange.stage.write("head", 1, 2)
    response = web.StreamResponse()
    await response.prepare(request)
    assert exchange.told is not None
    exchange.told.success("head")
    await response.write(b"some")
    await exchange.stage.write("body", 1, 2)
    await response.write(b"more")
    return response


async def converse(exchange: Exchange, request: web.Request) -> web.StreamResponse:
    """Answer the messages of a websocket, each in a context of its own."""
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        assert message.type is WSMsgType.TEXT
        with exchange.stage.told(message.data):
            async with db_context():
                await db_session(exchange.stage.connection)
                await exchange.stage.write(message.data, 1)
                await exchange.stage.add(message.data, 2)
        await websocket.send_str(message.data)
    return websocket


def _frame(opcode: int, payload: bytes = b"") -> bytes:
    """Make a frame of a client: masked, by a mask of zeros."""
    return bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload


_GET = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
_FRAMES = b"".join(_frame(1, message.encode()) for message in _MESSAGES) + _frame(8)
