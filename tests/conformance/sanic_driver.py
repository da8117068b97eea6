"""The conformance cases on Sanic's own server."""

import itertools
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sanic import Request, Sanic, SanicException, Websocket, response
from sanic.exceptions import NotFound

from context_async_sqlalchemy import setup_db
from tests.adapters.sanic.serving import start, stop
from tests.conformance.driver import Driver, Exchange, Handler, Reply, Setup, Stream, WebSocket

AnyRequest = Request[Any, Any]

_numbers = itertools.count()


class _SanicStream(Stream):
    def __init__(self, sent: Any) -> None:
        self._sent = sent

    async def write(self, data: bytes) -> None:
        await self._sent.send(data)


class _SanicWebSocket(WebSocket):
    def __init__(self, websocket: Websocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str | None:
        message = await self._websocket.recv()
        return None if message is None else str(message)

    async def send(self, message: str) -> None:
        await self._websocket.send(message)


class _SanicExchange(Exchange):
    def __init__(self, request: AnyRequest, websocket: Websocket | None = None) -> None:
        self._request = request
        self._websocket = websocket

    async def stream(self, status: int = 200, *, compressed: bool = False) -> Stream:  # noqa: ARG002 - Sanic has none
        request: Any = self._request
        sent = await request.respond(status=status)
        # Sanic sends the headers with the first piece, even an empty one.
        await sent.send(b"")
        return _SanicStream(sent)

    async def websocket(self) -> WebSocket:
        assert self._websocket is not None
        return _SanicWebSocket(self._websocket)

    def answer_by_raising(self, status: int) -> BaseException:
        if status == 404:
            return NotFound()
        return SanicException("answered by raising", status_code=status)


def _as_sanic_handler(handler: Handler) -> Callable[..., Awaitable[response.HTTPResponse | None]]:
    async def handle(request: AnyRequest, **_parameters: str) -> response.HTTPResponse | None:
        reply = await handler(_SanicExchange(request))
        return response.text(reply.body, status=reply.status) if isinstance(reply, Reply) else None

    return handle


def _sanic_path(path: str) -> str:
    return path.replace("{", "<").replace("}", ">")


class SanicDriver(Driver):
    """Sanic's own server, on the loop of the test."""

    name = "sanic"
    extended = False
    """With Sanic Extensions, which Sanic applies to every application where they are installed."""
    handler_accepts_websockets = False
    # Sanic has error handlers in place of mapping middlewares, and they see whatever is raised.
    maps_failing_commits_inside = True

    def __init__(self) -> None:
        self._app: Sanic[Any, Any] | None = None

    @asynccontextmanager
    async def serving(self, setup: Setup) -> AsyncGenerator[int]:
        app: Any = Sanic(f"conformance-{next(_numbers)}", configure_logging=False)
        self._app = app
        app.config.GRACEFUL_SHUTDOWN_TIMEOUT = setup.grace
        app.config.ACCESS_LOG = False
        # Sanic rewrites its own methods at start, and cannot do so twice in one process.
        app.config.TOUCHUP = False
        app.config.AUTO_EXTEND = self.extended

        async def handle_websocket(request: AnyRequest, websocket: Websocket) -> None:
            await setup.handler(_SanicExchange(request, websocket))

        app.add_route(_as_sanic_handler(setup.handler), "/mounted/" if setup.mounted else "/", methods=["GET", "POST"])
        for number, (path, other) in enumerate(setup.others.items()):
            app.add_route(_as_sanic_handler(other), _sanic_path(path), name=f"other{number}")
        app.add_websocket_route(handle_websocket, "/websocket")
        if setup.map_errors is not None:

            async def answer_409(_request: AnyRequest, error: Exception) -> response.HTTPResponse:
                return response.text(type(error).__name__, status=409)

            app.error_handler.add(Exception, answer_409)
        setup_db(app, setup.connections, **setup.options)
        listener = socket.create_server(("127.0.0.1", 0))
        server = await start(app, listener)
        try:
            yield int(listener.getsockname()[1])
        finally:
            await stop(app, server, setup.grace)
            app.unregister_app(app)

    def route(self, path: str) -> str:
        # Sanic's own notation, which names the type too.
        return f"GET {_sanic_path(path).replace('>', ':str>')}"

    def live_contexts(self) -> int:
        assert self._app is not None
        return len(self._app.ctx.db_lifecycle.live)


class ExtendedSanicDriver(SanicDriver):
    """The same, with Sanic Extensions."""

    name = "sanic-ext"
    extended = True
