"""Applications for servers with several processes, in which the test says how many connections a worker holds.

gunicorn tests.adapters.prometheus.served:make_aiohttp_app
uvicorn tests.adapters.prometheus.served:make_asgi_app --factory
sanic tests.adapters.prometheus.served:make_sanic_app --factory
"""

import os
from typing import Any

from aiohttp import web
from sanic import HTTPResponse, Request, Sanic, response
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse

from context_async_sqlalchemy import db_session, setup_db
from tests.support.connections import connect_to

URL = "DATABASE_UNDER_TEST"
POOL_SIZE = 5

_connection = connect_to(os.environ.get(URL, "postgresql+asyncpg://"), pool_size=POOL_SIZE)
_held: list[AsyncSession] = []


async def _work(held: int) -> str:
    """Execute a statement, and hold that many more connections from now on; return the process's id."""
    session = await db_session(_connection)
    await session.execute(text("SELECT 1"))
    while len(_held) < held:
        _held.append(await _connection.create_session())
        await _held[-1].execute(text("SELECT 1"))
    return str(os.getpid())


async def make_aiohttp_app() -> web.Application:
    """Make the application that gunicorn serves."""

    async def work(request: web.Request) -> web.Response:
        return web.Response(text=await _work(int(request.query["held"])))

    app = web.Application()
    app.router.add_get("/work/{what}", work)
    setup_db(app, [_connection])
    return app


def make_asgi_app() -> Starlette:
    """Make the application that uvicorn serves."""

    async def work(request: StarletteRequest) -> PlainTextResponse:
        return PlainTextResponse(await _work(int(request.query_params["held"])))

    app = Starlette()
    app.router.add_route("/work/{what}", work)
    setup_db(app, [_connection])
    return app


def make_sanic_app() -> Any:
    """Make the application that Sanic serves."""

    async def work(request: Request[Any, Any], what: str) -> HTTPResponse:  # noqa: ARG001 - Sanic passes it by name
        return response.text(await _work(int(request.args["held"][0])))

    app: Any = Sanic("served_by_several", configure_logging=False)
    app.add_route(work, "/work/<what:str>")
    setup_db(app, [_connection])
    return app
