"""Requests that begin where a context is current already: pipelined ones, and those of clients in the same process."""

import asyncio
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from context_async_sqlalchemy import DBConnect, db_context, db_session, setup_db
from context_async_sqlalchemy_asgi.protocol import Receive, Scope, Send
from tests.conformance.service import REQUEST
from tests.conformance.statements import write
from tests.support.asgi_servers import Serve, under_hypercorn, under_uvicorn
from tests.support.connections import in_use
from tests.support.database import Database
from tests.support.waiting import until

every_server = pytest.mark.parametrize(
    "serve",
    [under_uvicorn, partial(under_uvicorn, http="h11"), under_hypercorn],
    ids=["uvicorn", "uvicorn-h11", "hypercorn"],
)


@every_server
@pytest.mark.parametrize("depth", [1, 2])
async def test_a_pipelined_request_gets_a_context_of_its_own_whatever_the_one_before_has_open(
    serve: Serve, connection: DBConnect, database: Database, depth: int
) -> None:
    may_end = asyncio.Event()
    seen: list[AsyncSession] = []

    async def answer_within(contexts: int, scope: Scope, receive: Receive, send: Send) -> None:
        if contexts:
            async with db_context():
                await answer_within(contexts - 1, scope, receive, send)
            return
        seen.append(await db_session(connection))
        await write(connection, "by the first")
        await PlainTextResponse("first")(scope, receive, send)
        await may_end.wait()

    async def endpoint(_request: Request) -> Any:
        if not seen:
            return partial(answer_within, depth)
        seen.append(await db_session(connection))
        await write(connection, "by the second")
        return PlainTextResponse("second", 409)

    app = Starlette()
    app.add_route("/", endpoint)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST + REQUEST)
        await asyncio.wait_for(reader.readuntil(b"first"), 5)
        if serve is not under_hypercorn:
            await until(lambda: len(seen) == 2, "the second request is handled while the first has a context open")
        may_end.set()
        await asyncio.wait_for(reader.readuntil(b"second"), 5)
        writer.close()
        await until(lambda: in_use(connection) == 0, "the connections are back")
    assert seen[0] is not seen[1]
    assert await database.notes() == ["by the first"]


async def _post(app: Any) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return (await client.post("/")).status_code


def _writing(connection: DBConnect) -> Starlette:
    async def endpoint(_request: Request) -> Response:
        await write(connection, "inside")
        return PlainTextResponse("refused", 409)

    app = Starlette()
    app.add_route("/", endpoint, methods=["POST"])
    setup_db(app, [])
    return app


async def test_a_client_in_the_process_shares_the_context_that_a_test_has_open(
    connection: DBConnect, database: Database
) -> None:
    async with db_context():
        await write(connection, "by the test")
        assert await _post(_writing(connection)) == 409
    assert sorted(await database.notes()) == ["by the test", "inside"]


@pytest.mark.parametrize("within", ["the handler", "db_context"])
async def test_a_client_in_the_process_of_a_handler(connection: DBConnect, database: Database, within: str) -> None:
    async def endpoint(_request: Request) -> Response:
        await write(connection, "by the handler")
        if within == "the handler":
            assert await _post(_writing(connection)) == 409
        else:
            async with db_context():
                assert await _post(_writing(connection)) == 409
        return PlainTextResponse("fine")

    app = Starlette()
    app.add_route("/", endpoint, methods=["POST"])
    setup_db(app, [connection])
    assert await _post(app) == 200
    # A `db_context` that the handler opens around its client is the client's, as in a test.
    expected = ["by the handler"] if within == "the handler" else ["by the handler", "inside"]
    assert sorted(await database.notes()) == expected
