"""Quart, Litestar and Falcon, whose ways of adding a middleware differ."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol

import aiohttp
import falcon
import falcon.asgi
import pytest
from litestar import Litestar, get
from litestar import Response as LitestarResponse
from litestar.response import Stream
from quart import Quart
from quart import Response as QuartResponse

from context_async_sqlalchemy import DBConnect, setup_db
from tests.conformance.statements import run, write
from tests.support.asgi_servers import Serve, under_hypercorn, under_uvicorn
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, Database
from tests.support.waiting import until

Handler = Callable[[], Awaitable[int]]
Body = Callable[[], AsyncGenerator[bytes]]


class MakeApp(Protocol):
    """Makes an application that answers / with a handler's status, and /stream with a body."""

    def __call__(self, handler: Handler, body: Body) -> Any: ...


def _quart(handler: Handler, body: Body) -> Any:
    app = Quart("quart_app")

    async def endpoint() -> QuartResponse:
        return QuartResponse("answered", await handler())

    async def stream() -> QuartResponse:
        return QuartResponse(body())

    app.add_url_rule("/", view_func=endpoint)
    app.add_url_rule("/stream", view_func=stream)
    return app


def _litestar(handler: Handler, body: Body) -> Any:
    @get("/")
    async def endpoint() -> LitestarResponse[str]:
        return LitestarResponse("answered", status_code=await handler())

    @get("/stream")
    async def stream() -> Stream:
        return Stream(body())

    return Litestar([endpoint, stream])


def _falcon(handler: Handler, body: Body) -> Any:
    class Endpoint:
        async def on_get(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
            resp.status = falcon.code_to_http_status(await handler())
            resp.text = "answered"

    class Streamed:
        async def on_get(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
            resp.stream = body()

    app: Any = falcon.asgi.App()
    app.add_route("/", Endpoint())
    app.add_route("/stream", Streamed())
    return app


pytestmark = [
    pytest.mark.parametrize("make", [_quart, _litestar, _falcon], ids=["quart", "litestar", "falcon"]),
    pytest.mark.parametrize("serve", [under_uvicorn, under_hypercorn], ids=["uvicorn", "hypercorn"]),
]


async def _no_body() -> AsyncGenerator[bytes]:
    yield b""


async def _never() -> int:
    raise AssertionError


async def _status(port: int, path: str = "/") -> int:
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}{path}") as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("status", [201, 409])
async def test_the_status_decides_before_the_response(
    make: MakeApp, serve: Serve, connection: DBConnect, database: Database, status: int
) -> None:
    async def handler() -> int:
        await write(connection, "written")
        return status

    app = make(handler, _no_body)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        assert await _status(port) == status
        assert await database.notes() == (["written"] if status == 201 else [])
        assert in_use(connection) == 0
    assert connection.engine is None
    await database.wait_for_backends("true", count=0)


@pytest.mark.parametrize("fails", ["in the handler", "in the commit"])
async def test_a_failure_is_a_500(
    make: MakeApp, serve: Serve, connection: DBConnect, database: Database, fails: str
) -> None:
    async def handler() -> int:
        await run(connection, FAILING_COMMIT)
        if fails == "in the handler":
            raise ZeroDivisionError
        return 200

    app = make(handler, _no_body)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        assert await _status(port) == 500
        assert in_use(connection) == 0
    assert await database.notes("unique_notes") == []


async def test_a_stream_is_committed_before_its_last_piece(
    make: MakeApp, serve: Serve, connection: DBConnect, database: Database
) -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield b"piece"
        await write(connection, "during")

    app = make(_never, body)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        assert await _status(port, "/stream") == 200
        assert await database.notes() == ["during"]


async def test_a_stream_whose_last_commit_fails_is_cut(make: MakeApp, serve: Serve, connection: DBConnect) -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield b"piece"
        await run(connection, FAILING_COMMIT)

    app = make(_never, body)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        with pytest.raises(aiohttp.ClientPayloadError):
            await _status(port, "/stream")
        await until(lambda: in_use(connection) == 0, "the connection is back")


def test_a_second_set_up_is_refused(make: MakeApp, serve: Serve, connection: DBConnect) -> None:
    del serve
    app = make(_never, _no_body)
    setup_db(app, [connection])
    with pytest.raises(RuntimeError, match="called twice"):
        setup_db(app, [])
