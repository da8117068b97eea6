"""The service that is measured, on Starlette: one application in a process of uvicorn, on uvloop and httptools."""

import argparse
import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvicorn
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from context_async_sqlalchemy import DBConnect, db_session, setup_db
from tools.benchmarks.server import FIRST, POOL, SECOND, fill

Handler = Callable[[Request], Awaitable[Response]]


async def nothing(_request: Request) -> Response:
    """Answer without the database."""
    return PlainTextResponse("nothing")


async def cpu_time(_request: Request) -> Response:
    """Answer with the CPU time of this process in nanoseconds."""
    return PlainTextResponse(str(time.process_time_ns()))


def _application(name: str, two_selects: Handler | None = None) -> Starlette:
    @asynccontextmanager
    async def say_ready(app: Starlette) -> AsyncGenerator[None]:
        port = app.state.port
        print(f"control {port}\n{name} {port}\nready", flush=True)
        yield

    routes = [Route("/nothing", nothing), Route("/cpu-time", cpu_time)]
    if two_selects is not None:
        routes.append(Route("/two-selects", two_selects))
    return Starlette(routes=routes, lifespan=say_ready)


def bare(name: str, _url: str) -> Starlette:
    """Serve without the library."""
    return _application(name)


class _EmptyMiddleware:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Any) -> None:
            await send(message)

        await self._app(scope, receive, send_on)


def empty_hooks(name: str, _url: str) -> Starlette:
    """Serve within a middleware that wraps ``send``, and does nothing."""
    app = _application(name)
    app.add_middleware(_EmptyMiddleware)
    return app


def by_hand(name: str, url: str) -> Starlette:
    """Serve with the transaction written out in the handler."""
    maker = async_sessionmaker(create_async_engine(url, **POOL), expire_on_commit=False)

    async def two_selects(_request: Request) -> Response:
        async with maker() as session, session.begin():
            first = (await session.execute(FIRST)).one()
            second = (await session.execute(SECOND)).one()
        return JSONResponse([first.name, second.name])

    return _application(name, two_selects)


def by_library(name: str, url: str, **options: Any) -> Starlette:
    """Serve through the library."""
    connection = DBConnect.from_url(url, name="main", **POOL)

    async def two_selects(_request: Request) -> Response:
        session = await db_session(connection)
        first = (await session.execute(FIRST)).one()
        second = (await session.execute(SECOND)).one()
        return JSONResponse([first.name, second.name])

    app = _application(name, two_selects)
    setup_db(app, [connection], **options)
    return app


APPLICATIONS: dict[str, Callable[[str, str], Starlette]] = {
    "bare": bare,
    "empty_hooks": empty_hooks,
    "by_hand": by_hand,
    "unobserved": partial(by_library, observers=()),
    "measured": by_library,
}


def main() -> None:
    """Serve one application until the process is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=int)
    parser.add_argument("--application", choices=sorted(APPLICATIONS), required=True)
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    url = os.environ["DATABASE_URL"]
    asyncio.run(fill(url))
    app = APPLICATIONS[arguments.application](arguments.application, url)
    listener = socket.create_server(("127.0.0.1", 0))
    app.state.port = listener.getsockname()[1]
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
