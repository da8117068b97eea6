"""The HTTP/1.1 server: it answers each request in a task, and cancels the task if the client hangs up."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus

from .app import App
from .messages import RaisedResponse, Request, Response

logger = logging.getLogger(__name__)


@asynccontextmanager
async def serving(app: App, *, port: int = 0, grace: float = 5.0) -> AsyncGenerator[int]:
    """Serve an application on 127.0.0.1 until the block ends.

    Args:
        app: the application.
        port: the port; 0 for a free one.
        grace: seconds that requests in flight get at the end of the block before they are cancelled.

    Yields:
        The port.

    """
    for each in app.applications():
        each.is_running = True
        for start in each.on_startup:
            await start()
    server = _Server(app)
    listening = await asyncio.get_running_loop().create_server(lambda: _Connection(server), "127.0.0.1", port)
    try:
        yield int(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        await server.stop(grace)
        for each in app.applications():
            for hook in each.on_shutdown:
                await hook()


class _Server:
    def __init__(self, app: App) -> None:
        self._app = app
        self._is_stopping = False
        self._requests: set[asyncio.Task[bool]] = set()
        self._connections: set[asyncio.Task[None]] = set()

    async def stop(self, grace: float) -> None:
        """Wait for the requests in flight, cancel those that take longer than the grace, close all connections."""
        self._is_stopping = True
        if self._requests:
            await asyncio.wait(self._requests, timeout=grace)
        for request in self._requests:
            request.cancel()
        if self._requests:
            await asyncio.wait(self._requests)
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def accept(self, connection: "_Connection", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin to serve a connection."""
        task = asyncio.create_task(self._serve(connection, reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(
        self, connection: "_Connection", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the requests of one connection, one after another and each in its task."""
        try:
            # IncompleteReadError: the client has closed the connection.
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                goes_on = True
                while goes_on and not self._is_stopping:
                    goes_on = await self._serve_one(connection, await _read_request(reader, writer))
        except (ValueError, asyncio.LimitOverrunError):
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        finally:
            writer.close()

    async def _serve_one(self, connection: "_Connection", request: Request) -> bool:
        """Answer a request; return whether the connection can carry another one."""
        connection.request = task = asyncio.create_task(self._answer(request))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
        await asyncio.wait([task])
        connection.request = None
        if task.cancelled() or task.exception() is not None or not task.result():
            connection.cut()
            return False
        return request.headers.get("connection", "").lower() not in {"close", "upgrade"}

    async def _answer(self, request: Request) -> bool:
        """Answer a request; return False if the response cannot be completed, so that the client must be told."""
        try:
            answer = await self._app.handle(request)
        except RaisedResponse as raised:
            answer = raised.response
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            answer = Response(HTTPStatus.INTERNAL_SERVER_ERROR, b"Internal Server Error")
        if not isinstance(answer, Response):
            await answer.end()
        elif request.has_begun:
            # A second status line would be a part of the body.
            return False
        else:
            await request.respond(answer)
        return True


class _Connection(asyncio.StreamReaderProtocol):
    """A connection, which cancels the handler of its request when the client hangs up."""

    def __init__(self, server: _Server) -> None:
        super().__init__(asyncio.StreamReader(), partial(server.accept, self))
        self.request: asyncio.Task[bool] | None = None
        self._transport_to_client: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport_to_client = transport

    def eof_received(self) -> bool:
        super().eof_received()
        # The transport closes then: a client that only closes its sending side cannot be told from one that is gone.
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.request is not None:
            self.request.cancel()

    def cut(self) -> None:
        """Reset the connection, so that the client does not take the response for complete."""
        if isinstance(self._transport_to_client, asyncio.WriteTransport):
            self._transport_to_client.abort()


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request_line, *lines = head.splitlines()[:-1]
    method, target, _ = request_line.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, (reader, writer))
