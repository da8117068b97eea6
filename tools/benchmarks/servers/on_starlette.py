"""Serving Starlette with one process of uvicorn, on uvloop and httptools."""

import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tools.benchmarks.servers.common import tell_ready

Handler = Callable[[Request], Awaitable[Response]]


async def _nothing(_request: Request) -> Response:
    """Answer without the database."""
    return PlainTextResponse("nothing")


async def _cpu_time(_request: Request) -> Response:
    """Answer with the CPU time of this process in nanoseconds."""
    return PlainTextResponse(str(time.process_time_ns()))


def application(two_selects: Handler | None = None) -> Starlette:
    """Make the application that is measured, with the control's route.

    Args:
        two_selects: the handler that uses the database.

    """

    @asynccontextmanager
    async def say_ready(app: Starlette) -> AsyncGenerator[None]:
        tell_ready({"control": app.state.port, app.state.name: app.state.port})
        yield

    routes = [Route("/nothing", _nothing), Route("/cpu-time", _cpu_time)]
    if two_selects is not None:
        routes.append(Route("/two-selects", two_selects))
    return Starlette(routes=routes, lifespan=say_ready)


def serve(name: str, app: Starlette) -> None:
    """Serve until the process is stopped.

    Args:
        name: of the measured application.
        app: as `application` made it.

    """
    listener = socket.create_server(("127.0.0.1", 0))
    app.state.name, app.state.port = name, listener.getsockname()[1]
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])
