"""A Sanic application on Sanic's own server, in the process of the test."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def start(app: Any, listener: socket.socket) -> Any:
    """Start an application on the loop of the test; return its server."""
    server: Any = await app.create_server(sock=listener, return_asyncio_server=True, access_log=False)
    await server.startup()
    await server.before_start()
    await server.after_start()
    return server


async def stop(app: Any, server: Any, grace: float) -> None:
    """Stop as Sanic's own ``serve`` does: a grace for requests in flight, then their connections are closed."""
    await server.before_stop()
    server.close()
    loop = asyncio.get_running_loop()
    for connection in server.connections:
        connection.close_if_idle()
    deadline = loop.time() + grace
    while server.connections and loop.time() < deadline:  # noqa: ASYNC110 - as Sanic's own `serve` waits
        await asyncio.sleep(0.01)
    for connection in list(server.connections):
        if hasattr(connection, "websocket") and connection.websocket:
            connection.websocket.fail_connection(code=1001)
        else:
            connection.abort()
    app.set_serving(False)
    await server.after_stop()


class Answers:
    """A client of the application.

    Args:
        port: where it is served.
        session: whose connections are kept alive.

    """

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self._port = port
        self._session = session

    async def __call__(self, path: str) -> tuple[int, str]:
        """Request a path; return status and body."""
        async with self._session.get(f"http://127.0.0.1:{self._port}{path}") as response:
            return response.status, await response.text()

    def websocket(self, path: str) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        """Open a websocket."""
        return self._session.ws_connect(f"http://127.0.0.1:{self._port}{path}")

    async def raw(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own; return all that is answered until it is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(data)
        try:
            return await reader.read()
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(app: Any) -> AsyncGenerator[Answers]:
    """Serve an application."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = await start(app, listener)
        try:
            async with aiohttp.ClientSession() as session:
                yield Answers(listener.getsockname()[1], session)
        finally:
            await stop(app, server, grace=1.0)


async def begin(request: Any, length: int | None = None) -> Any:
    """Begin a stream whose body is not complete yet."""
    stream = await request.respond(headers={} if length is None else {"content-length": str(length)})
    await stream.send("all")
    return stream


async def received(answers: Answers) -> bytes:
    """Request a stream on a connection of its own; return all that is received until the connection is closed."""
    try:
        return await answers.raw(GET)
    except ConnectionResetError:
        return b""


def is_cut(received: bytes) -> bool:
    """Return whether the body of a received stream is incomplete: no last chunk, or less than ``begin`` promised."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert received.count(b"HTTP/1.1") <= 1
    return len(body) < 5 if b"content-length" in head else not body.endswith(b"0\r\n\r\n")
