"""A small application of each framework, served over a socket, observed as by default."""

import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from aiohttp import web
from sanic import Sanic, response
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from context_async_sqlalchemy import DBConnect, setup_db
from tests.adapters.sanic.serving import start, stop
from tests.proof.soak.work import do
from tests.support.asgi_servers import under_uvicorn

_PATH = "/{kind}"

Serve = Callable[..., AbstractAsyncContextManager[int]]
"""Given a connection, and options of ``setup_db``, serves an application; yields its port on 127.0.0.1.

The connection is closed at the end of the block.
"""


@asynccontextmanager
async def _aiohttp(connection: DBConnect, **options: Any) -> AsyncGenerator[int]:
    async def handler(request: web.Request) -> web.Response:
        await do(connection, request.match_info["kind"])
        return web.Response(text="done")

    app = web.Application()
    app.router.add_get(_PATH, handler)
    setup_db(app, [connection], metrics_path=None, **options)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _sanic(connection: DBConnect, **options: Any) -> AsyncGenerator[int]:
    async def handler(_request: Any, kind: str) -> response.HTTPResponse:
        await do(connection, kind)
        return response.text("done")

    app: Any = Sanic("soak", configure_logging=False)
    # Sanic rewrites its own methods at start, and cannot do so twice in one process.
    app.config.TOUCHUP = False
    app.config.AUTO_EXTEND = False
    app.add_route(handler, "/<kind:str>")
    setup_db(app, [connection], metrics_path=None, **options)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = await start(app, listener)
        try:
            yield int(listener.getsockname()[1])
        finally:
            await stop(app, server, grace=1.0)
            app.unregister_app(app)


@asynccontextmanager
async def _starlette(connection: DBConnect, **options: Any) -> AsyncGenerator[int]:
    async def handler(request: Request) -> PlainTextResponse:
        await do(connection, request.path_params["kind"])
        return PlainTextResponse("done")

    app = Starlette(routes=[Route(_PATH, handler)])
    setup_db(app, [connection], metrics_path=None, **options)
    async with under_uvicorn(app) as port:
        yield port


FRAMEWORKS: dict[str, Serve] = {"aiohttp": _aiohttp, "sanic": _sanic, "starlette": _starlette}
