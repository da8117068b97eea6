"""Streams of known length: the client takes the body for complete at its last byte, so the commit comes before."""

from functools import partial
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from context_async_sqlalchemy import DBConnect, close_db_session, setup_db
from tests.conformance.statements import run, write
from tests.support.asgi_servers import Serve, under_hypercorn, under_uvicorn
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, Database
from tests.support.waiting import until

every_server = pytest.mark.parametrize(
    "serve",
    [under_uvicorn, partial(under_uvicorn, http="h11"), under_hypercorn],
    ids=["uvicorn", "uvicorn-h11", "hypercorn"],
)


async def _pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
    return await call_next(request)


def _application(pieces: Any, *, is_inside: bool) -> Starlette:
    """Make an application that answers with pieces of twelve bytes together, as ``pieces`` sends them."""

    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"12")]})
        await pieces(send)

    async def endpoint(_request: Request) -> Any:
        return answer

    app = Starlette()
    app.add_route("/", endpoint)
    if is_inside:
        app.add_middleware(BaseHTTPMiddleware, dispatch=_pass_on)
    return app


async def _send(send: Send, piece: bytes, *, is_last: bool = False) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": not is_last})


@every_server
@pytest.mark.parametrize("is_inside", [False, True], ids=["alone", "in a BaseHTTPMiddleware"])
@pytest.mark.parametrize("fails", [False, True])
async def test_the_commit_comes_before_the_last_byte(
    serve: Serve, connection: DBConnect, database: Database, is_inside: bool, fails: bool
) -> None:
    async def pieces(send: Send) -> None:
        await _send(send, b"the ")
        await write(connection, "during")
        await _send(send, b"whole ")
        if fails:
            await run(connection, FAILING_COMMIT)
        await _send(send, b"it")
        await _send(send, b"", is_last=True)

    app = _application(pieces, is_inside=is_inside)
    setup_db(app, [connection])
    async with serve(app, 5) as port, aiohttp.ClientSession() as client:
        if fails:
            with pytest.raises(aiohttp.ClientPayloadError):
                async with client.get(f"http://127.0.0.1:{port}/") as response:
                    await response.read()
        else:
            async with client.get(f"http://127.0.0.1:{port}/") as response:
                assert await response.read() == b"the whole it"
                assert await database.notes() == ["during"]
        await until(lambda: in_use(connection) == 0, "the connection is back")
    assert await database.notes() == ([] if fails else ["during"])


@pytest.mark.parametrize("is_inside", [False, True], ids=["alone", "in a BaseHTTPMiddleware"])
async def test_the_pieces_keep_their_order_if_the_session_is_closed_between_them(
    connection: DBConnect, is_inside: bool
) -> None:
    async def pieces(send: Send) -> None:
        await run(connection, "SELECT 1")
        await _send(send, b"the ")
        await close_db_session(connection)
        await _send(send, b"whole ")
        await _send(send, b"it", is_last=True)

    app = _application(pieces, is_inside=is_inside)
    setup_db(app, [connection])
    async with (
        under_uvicorn(app) as port,
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{port}/") as response,
    ):
        assert await response.read() == b"the whole it"
