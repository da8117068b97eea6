"""Streams that end their own body, and exceptions after the headers."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from context_async_sqlalchemy import DBConnect, Retry, atomic_db_session, db_context, retried, setup_db
from tests.conformance.service import Client
from tests.conformance.statements import run, write
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, Database
from tests.support.waiting import until, until_async

LENGTH = pytest.mark.parametrize("length", [None, 5], ids=["chunked", "content-length"])
CANCELLATION = pytest.mark.parametrize("handler_cancellation", [False, True])


@web.middleware
async def answer_409(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - an error mapper, as applications have them
        return web.Response(status=409, text=type(error).__name__)


@web.middleware
async def clone(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request.clone(remote="192.0.2.1"))


MIDDLEWARES = {"none": [], "inside": [clone, answer_409], "outside": [answer_409, clone]}
AROUND = pytest.mark.parametrize("mapper", MIDDLEWARES)


@asynccontextmanager
async def _serving(
    handler: Handler, connection: DBConnect, mapper: str = "none", *, handler_cancellation: bool = True
) -> AsyncGenerator[Client]:
    app = web.Application(middlewares=MIDDLEWARES[mapper])
    app.router.add_get("/{tail:.*}", handler)
    setup_db(app, [connection], position=2 if mapper == "outside" else None)
    runner = web.AppRunner(app, handler_cancellation=handler_cancellation, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(runner.addresses[0][1], "/")
    try:
        yield client
        await until(lambda: not in_use(connection), "every connection is back in its pool")
    finally:
        await client.close()
        await runner.cleanup()


async def _received(client: Client) -> bytes:
    """Request a stream, and return all bytes until the service closes the connection."""
    async with client.raw() as raw:
        raw.send(headers=b"Connection: close\r\n")
        received = b""
        try:
            while piece := await raw.reader.read(1000):
                received += piece
        except ConnectionResetError:
            pass
        return received


def _is_cut(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    assert received.count(b"HTTP/1.1") <= 1
    if b"Content-Length" in head:
        return len(body) < 5
    return not body.endswith(b"0\r\n\r\n")


async def _begin(request: web.Request, length: int | None = None) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = length
    await response.prepare(request)
    await response.write(b"all")
    return response


@LENGTH
async def test_the_work_of_a_stream_is_committed_before_the_stream_ends_its_own_body(
    connection: DBConnect, database: Database, length: int | None
) -> None:
    seen: list[list[str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await _begin(request, length)
        await write(connection, "during")
        if length is None:
            await response.write_eof(b" !")
        else:
            await response.write(b" !")
        seen.append(await database.notes())
        await response.write_eof()
        await write(connection, "after the end")
        return response

    async with _serving(handler, connection) as client:
        assert await client.get() == (200, "all !")
        # On a connection that is kept alive.
        assert await client.get() == (200, "all !")

        async def all_is_committed() -> bool:
            return await database.notes() == ["after the end"] * 2 + ["during"] * 2

        await until_async(all_is_committed, "the work after the end is committed")
    assert seen[0] == ["during"]


@LENGTH
@AROUND
async def test_a_stream_that_ends_its_own_body_is_cut_if_its_commit_fails(
    connection: DBConnect, database: Database, mapper: str, length: int | None
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = await _begin(request, length)
        await run(connection, FAILING_COMMIT)
        await response.write(b" !")
        await response.write_eof()
        return response

    async with _serving(handler, connection, mapper) as client:
        assert _is_cut(await _received(client))
    assert await database.notes("unique_notes") == []


async def _fail_in_atomic(connection: DBConnect) -> None:
    async with atomic_db_session(connection):
        await run(connection, FAILING_COMMIT)


async def _fail_in_db_context(connection: DBConnect) -> None:
    async with db_context():
        await run(connection, FAILING_COMMIT)


async def _fail_in_retried(connection: DBConnect) -> None:
    await retried(Retry())(run)(connection, FAILING_COMMIT)


@pytest.mark.parametrize("fail", [_fail_in_atomic, _fail_in_db_context, _fail_in_retried])
@AROUND
async def test_a_stream_whose_work_was_lost_is_cut(
    connection: DBConnect, database: Database, mapper: str, fail: Any
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = await _begin(request, 100)
        await fail(connection)
        return response

    async with _serving(handler, connection, mapper, handler_cancellation=False) as client:
        assert (await _received(client)).endswith(b"\r\n\r\nall")
    assert await database.notes("unique_notes") == []


@CANCELLATION
async def test_a_websocket_behind_a_clone_holds_nothing_after_its_handshake(
    connection: DBConnect, database: Database, handler_cancellation: bool
) -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        await write(connection, "before the handshake")
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.send_str(f"{in_use(connection)} {await database.notes()}")
        async for _ in websocket:
            async with db_context():
                await write(connection, "a message")
            await websocket.send_str("written")
        return websocket

    async with (
        _serving(handler, connection, "inside", handler_cancellation=handler_cancellation) as client,
        client.websocket() as websocket,
    ):
        assert await websocket.receive_str() == "0 ['before the handshake']"
        await websocket.send_str("write")
        assert await websocket.receive_str() == "written"
    assert await database.notes() == ["a message", "before the handshake"]
