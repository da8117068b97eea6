"""An application that is started a second time, as test clients do, is observed again."""

from collections.abc import Callable
from typing import Any

import aiohttp
import falcon.asgi
import pytest
from fastapi import FastAPI
from litestar import Litestar
from litestar import get as litestar_get
from quart import Quart
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from context_async_sqlalchemy import ASGIHTTPDBSessionMiddleware, DBConnect, setup_db
from context_async_sqlalchemy.observer import Observer
from tests.conformance.statements import run
from tests.support.asgi_servers import under_uvicorn
from tests.support.recorder import Recorder

Make = Callable[[DBConnect, Observer], Any]


def _starlette(connection: DBConnect, observer: Observer) -> Any:
    app = Starlette(routes=[Route("/", _answering(connection))])
    setup_db(app, [connection], observers=[observer])
    return app


def _fastapi(connection: DBConnect, observer: Observer) -> Any:
    app = FastAPI()
    app.add_api_route("/", _answering(connection), response_model=None)
    setup_db(app, [connection], observers=[observer])
    return app


def _by_hand(connection: DBConnect, observer: Observer) -> Any:
    app = Starlette(routes=[Route("/", _answering(connection))])
    return ASGIHTTPDBSessionMiddleware(app, connections=[connection], observers=[observer])


def _quart(connection: DBConnect, observer: Observer) -> Any:
    app = Quart("started_twice")

    async def answer() -> str:
        await run(connection, "SELECT 1")
        return ""

    app.add_url_rule("/", view_func=answer)
    setup_db(app, [connection], observers=[observer])
    return app


def _litestar(connection: DBConnect, observer: Observer) -> Any:
    @litestar_get("/")
    async def answer() -> str:
        await run(connection, "SELECT 1")
        return ""

    app = Litestar([answer])
    setup_db(app, [connection], observers=[observer])
    return app


def _falcon(connection: DBConnect, observer: Observer) -> Any:
    class Resource:
        async def on_get(self, _req: object, resp: falcon.asgi.Response) -> None:
            await run(connection, "SELECT 1")
            resp.text = ""

    app: Any = falcon.asgi.App()
    app.add_route("/", Resource())
    setup_db(app, [connection], observers=[observer])
    return app


def _answering(connection: DBConnect) -> Any:
    async def answer(_request: Request) -> Response:
        await run(connection, "SELECT 1")
        return PlainTextResponse("")

    return answer


@pytest.mark.parametrize("make", [_starlette, _fastapi, _by_hand, _quart, _litestar, _falcon])
async def test_each_lifespan_is_observed(connection: DBConnect, make: Make) -> None:
    recorder = Recorder()
    app = make(connection, recorder)
    for lifespan in (1, 2, 3):
        async with (
            under_uvicorn(app) as port,
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{port}/") as response,
        ):
            assert response.status == 200
        assert len(recorder.contexts) == lifespan
        assert recorder.forgotten == recorder.pools
        assert len(recorder.pools) == lifespan
