"""A Sanic application on Sanic's own server, in the process of the test."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

Answers = Callable[[str], Awaitable[tuple[int, str]]]


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


@asynccontextmanager
async def serving(app: Any) -> AsyncGenerator[Answers]:
    """Serve an application; yields a function that requests a path and returns status and body."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = await start(app, listener)
        try:
            async with aiohttp.ClientSession(url) as client:

                async def answers(path: str) -> tuple[int, str]:
                    async with client.get(path) as response:
                        return response.status, await response.text()

                yield answers
        finally:
            await stop(app, server, grace=1.0)
