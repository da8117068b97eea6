"""Responses that have no body, so that they are no streams: the status decides, and no release is early."""

from functools import partial
from typing import Any

import aiohttp
import falcon
import falcon.asgi
import pytest
from litestar import Litestar
from litestar import Response as LitestarResponse
from litestar import route as litestar_route
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from context_async_sqlalchemy import DBConnect, setup_db
from tests.conformance.statements import write
from tests.support.asgi_servers import Serve, under_hypercorn, under_uvicorn
from tests.support.connections import in_use
from tests.support.database import Database
from tests.support.recorder import Recorder
from tests.support.waiting import until

pytestmark = pytest.mark.parametrize(
    "serve",
    [under_uvicorn, partial(under_uvicorn, http="h11"), under_hypercorn],
    ids=["uvicorn", "uvicorn-h11", "hypercorn"],
)


def _starlette(connection: DBConnect, status: int) -> Any:
    async def endpoint(request: Request) -> Response:
        await write(connection, "written")
        if request.method == "HEAD":
            return StreamingResponse(iter(["a body that is not sent"]))
        return Response(status_code=status)

    app = Starlette()
    app.add_route("/", endpoint)
    return app


def _inside_a_base_http_middleware(connection: DBConnect, status: int) -> Any:
    async def pass_through(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    app = _starlette(connection, status)
    app.add_middleware(BaseHTTPMiddleware, dispatch=pass_through)
    return app


def _litestar(connection: DBConnect, status: int) -> Any:
    @litestar_route("/", http_method=["GET", "HEAD"], status_code=status)
    async def endpoint() -> LitestarResponse[None]:
        await write(connection, "written")
        return LitestarResponse(None)

    return Litestar([endpoint])


def _falcon(connection: DBConnect, status: int) -> Any:
    class Endpoint:
        async def on_get(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
            await write(connection, "written")
            resp.status = falcon.code_to_http_status(status)

        on_head = on_get

    app: Any = falcon.asgi.App()
    app.add_route("/", Endpoint())
    return app


async def _request(port: int, method: str) -> int:
    async with aiohttp.ClientSession() as client, client.request(method, f"http://127.0.0.1:{port}/") as response:
        assert await response.read() == b""
        return response.status


@pytest.mark.parametrize("answer", [("GET", 204), ("GET", 304), ("HEAD", 200)], ids=str)
@pytest.mark.parametrize("make", [_starlette, _inside_a_base_http_middleware, _litestar, _falcon])
async def test_its_connection_comes_back_at_the_end_and_not_early(
    serve: Serve, connection: DBConnect, database: Database, make: Any, answer: tuple[str, int]
) -> None:
    method, status = answer
    recorder, app = Recorder(), make(connection, status)
    setup_db(app, [connection], observers=[recorder])
    async with serve(app, 5) as port:
        assert await _request(port, method) == status
        assert await database.notes() == ["written"]
        await until(lambda: len(recorder.contexts) == 1, "the context has ended")
    assert [(checkout.released_by, checkout.is_early) for checkout in recorder.checkouts] == [("end", False)]
    assert recorder.early == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_outermost_status_decides(
    serve: Serve, connection: DBConnect, database: Database, method: str
) -> None:
    async def endpoint(_request: Request) -> Response:
        await write(connection, "discarded")
        return Response(status_code=204) if method == "GET" else StreamingResponse(iter(()))

    async def refuse(request: Request, call_next: RequestResponseEndpoint) -> Response:
        await call_next(request)
        return PlainTextResponse("too many", 429)

    app = Starlette()
    app.add_route("/", endpoint)
    app.add_middleware(BaseHTTPMiddleware, dispatch=refuse)
    setup_db(app, [connection])
    async with serve(app, 5) as port, aiohttp.ClientSession() as client:
        async with client.request(method, f"http://127.0.0.1:{port}/") as response:
            assert response.status == 429
        await until(lambda: in_use(connection) == 0, "the connection is back")
    assert await database.notes() == []
