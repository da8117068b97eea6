"""Serving with Sanic: one process on uvloop, as Sanic runs it in production."""

import socket
import time
from collections.abc import Callable
from typing import Any

from sanic import HTTPResponse, Request, Sanic, response

from tools.benchmarks.servers.common import tell_ready

AnyRequest = Request[Any, Any]


async def nothing(_request: AnyRequest) -> HTTPResponse:
    """Answer without the database."""
    return response.text("nothing")


async def _cpu_time(_request: AnyRequest) -> HTTPResponse:
    """Answer with the CPU time of this process in nanoseconds."""
    return response.text(str(time.process_time_ns()))


def serve(name: str, add_to: Callable[[Any], None]) -> None:
    """Serve until the process is stopped.

    Args:
        name: of the measured application.
        add_to: adds to a Sanic application what is measured.

    """
    app: Any = Sanic("benchmark", configure_logging=False)
    # Sanic Extensions, where they are installed, would add to all that are compared.
    app.config.AUTO_EXTEND = False
    app.add_route(nothing, "/nothing")
    app.add_route(_cpu_time, "/cpu-time")
    add_to(app)
    listener = socket.create_server(("127.0.0.1", 0))

    async def say_ready(_app: Any) -> None:
        port = listener.getsockname()[1]
        tell_ready({"control": port, name: port})

    app.register_listener(say_ready, "after_server_start")
    app.run(sock=listener, single_process=True, access_log=False, motd=False)
