"""Shed requests and websockets on Quart, Litestar and Falcon, which let no exception out, and on plain ASGI."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import falcon.asgi
import pytest
from litestar import Litestar, WebSocket, get, websocket
from litestar import Request as LitestarRequest
from litestar import Response as LitestarResponse
from quart import Quart
from quart import websocket as quart_websocket
from sqlalchemy.exc import SQLAlchemyError

from context_async_sqlalchemy import ASGIHTTPDBSessionMiddleware, DBConnect, PoolOverloadedError, db_context, setup_db
from tests.conformance.statements import run
from tests.support.asgi_servers import Serve, under_hypercorn, under_uvicorn
from tests.support.connections import connect_to
from tests.support.database import Database

_TRY_AGAIN_LATER = 1013

Work = Callable[[], Awaitable[None]]
MakeApp = Callable[[Work, type[Exception] | None], Any]


def _quart(work: Work, handled: type[Exception] | None) -> Any:
    app = Quart("quart_app")
    socket_now: Any = quart_websocket

    async def endpoint() -> str:
        await work()
        return "answered"

    async def socket() -> None:
        await socket_now.accept()
        await socket_now.send("hello")
        await work()

    async def refused() -> None:
        await work()
        await socket_now.accept()

    async def own(_error: Exception) -> tuple[str, int]:
        return "own", 429

    app.add_url_rule("/", view_func=endpoint)
    app.add_websocket("/ws", view_func=socket)
    app.add_websocket("/refused", view_func=refused)
    if handled is not None:
        app.register_error_handler(handled, own)
    return app


def _litestar(work: Work, handled: type[Exception] | None) -> Any:
    @get("/")
    async def endpoint() -> str:
        await work()
        return "answered"

    @websocket("/ws")
    async def socket(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await work()

    @websocket("/refused")
    async def refused(socket: WebSocket[Any, Any, Any]) -> None:
        await work()
        await socket.accept()

    def own(_request: LitestarRequest[Any, Any, Any], _error: Exception) -> LitestarResponse[str]:
        return LitestarResponse("own", status_code=429)

    return Litestar([endpoint, socket, refused], exception_handlers={} if handled is None else {handled: own})


def _falcon(work: Work, handled: type[Exception] | None) -> Any:
    class Endpoint:
        async def on_get(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
            await work()
            resp.text = "answered"

    class Socket:
        async def on_websocket(self, _req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
            await ws.accept()
            await ws.send_text("hello")
            await work()

    class Refused:
        async def on_websocket(self, _req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
            await work()
            await ws.accept()

    async def own(_req: Any, resp: Any, _error: Exception, _params: Any, **_: Any) -> None:
        resp.status = 429
        resp.text = "own"

    app: Any = falcon.asgi.App()
    app.add_route("/", Endpoint())
    app.add_route("/ws", Socket())
    app.add_route("/refused", Refused())
    if handled is not None:
        app.add_error_handler(handled, own)
    return app


pytestmark = [
    pytest.mark.parametrize("serve", [under_uvicorn, under_hypercorn], ids=["uvicorn", "hypercorn"]),
]
on_each = pytest.mark.parametrize("make", [_quart, _litestar, _falcon], ids=["quart", "litestar", "falcon"])


@pytest.fixture
async def limited(database: Database) -> AsyncGenerator[DBConnect]:
    connection = connect_to(database.url, pool_size=1, max_wait=0.05)
    yield connection
    await connection.close()


@asynccontextmanager
async def _exhausted(connection: DBConnect) -> AsyncGenerator[None]:
    async with db_context():
        await run(connection, "SELECT 1")
        yield


@pytest.fixture
def work(limited: DBConnect) -> Work:
    async def work() -> None:
        await run(limited, "SELECT 1")

    return work


async def _get(port: int) -> tuple[int, str | None, str]:
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/") as response:
        return response.status, response.headers.get("Retry-After"), await response.text()


@on_each
@pytest.mark.parametrize("answer_503", [True, False])
async def test_a_shed_request_is_a_503(
    make: MakeApp, serve: Serve, limited: DBConnect, work: Work, answer_503: bool
) -> None:
    app = make(work, None)
    setup_db(app, [limited], answer_503=answer_503)
    async with serve(app, 5) as port, _exhausted(limited):
        status, retry_after, _ = await _get(port)
    assert (status, retry_after) == ((503, "1") if answer_503 else (500, None))


@on_each
@pytest.mark.parametrize("handled", [PoolOverloadedError, SQLAlchemyError, Exception])
async def test_the_application_s_own_handler_answers(
    make: MakeApp, serve: Serve, limited: DBConnect, work: Work, handled: type[Exception]
) -> None:
    app = make(work, handled)
    setup_db(app, [limited])
    async with serve(app, 5) as port, _exhausted(limited):
        assert await _get(port) == (429, None, "own")


@on_each
async def test_an_open_websocket_is_closed_by_1013(make: MakeApp, serve: Serve, limited: DBConnect, work: Work) -> None:
    app = make(work, None)
    setup_db(app, [limited])
    async with (
        serve(app, 5) as port,
        _exhausted(limited),
        aiohttp.ClientSession() as client,
        client.ws_connect(f"http://127.0.0.1:{port}/ws") as opened,
    ):
        assert await opened.receive_str() == "hello"
        await opened.receive()
        assert opened.close_code == _TRY_AGAIN_LATER


@on_each
async def test_a_handshake_is_refused(make: MakeApp, serve: Serve, limited: DBConnect, work: Work) -> None:
    app = make(work, None)
    setup_db(app, [limited])
    async with serve(app, 5) as port, _exhausted(limited), aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            await client.ws_connect(f"http://127.0.0.1:{port}/refused")
    assert raised.value.status in (403, 503)


async def test_plain_asgi(serve: Serve, limited: DBConnect, work: Work) -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await work()

    async with serve(ASGIHTTPDBSessionMiddleware(app, connections=[limited]), 5) as port, _exhausted(limited):
        status, retry_after, _ = await _get(port)
    assert (status, retry_after) == (503, "1")
