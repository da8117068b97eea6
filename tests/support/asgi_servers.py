"""ASGI servers on the loop of the test."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

import hypercorn.asyncio
import uvicorn
from hypercorn.config import Config as HypercornConfig
from hypercorn.config import Sockets

Serve = Callable[[Any, float], AbstractAsyncContextManager[int]]
"""Given an application and the seconds of grace at a shutdown, serves it on a free port of 127.0.0.1; yields it."""


@asynccontextmanager
async def under_uvicorn(
    app: Any, grace: float = 5.0, http: Literal["httptools", "h11"] = "httptools"
) -> AsyncGenerator[int]:
    """Serve an application by uvicorn, with one of its parsers of HTTP."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = int(listener.getsockname()[1])
    config = uvicorn.Config(app, http=http, lifespan="on", log_config=None, access_log=False, ws="websockets-sansio")
    config.timeout_graceful_shutdown = grace  # type: ignore[assignment]
    server = uvicorn.Server(config)
    serving = asyncio.create_task(_serve(server, listener))
    try:
        while not server.started:
            if serving.done():
                await serving
                raise RuntimeError("uvicorn did not start")
            await asyncio.sleep(0.01)
        try:
            yield port
        finally:
            server.should_exit = True
            await serving
    finally:
        # uvicorn does not close it if the application does not start.
        listener.close()


async def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    try:
        await server.serve([listener])
    except SystemExit as error:
        # A task that raises it would end the loop of the test.
        raise RuntimeError("uvicorn did not start") from error


@asynccontextmanager
async def under_hypercorn(app: Any, grace: float = 5.0) -> AsyncGenerator[int]:
    """Serve an application by hypercorn."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = int(listener.getsockname()[1])
    config: Any = HypercornConfig()
    # Our own socket, because hypercorn does not close its own if the application does not start.
    config.create_sockets = lambda: Sockets([], [listener], [])
    config.graceful_timeout = grace
    config.errorlog = None
    stop = asyncio.Event()
    servers: Any = hypercorn.asyncio  # whose types name types that are not there
    serving = asyncio.create_task(servers.serve(app, config, shutdown_trigger=stop.wait))
    try:
        yield port
    finally:
        stop.set()
        try:
            await serving
        finally:
            listener.close()
