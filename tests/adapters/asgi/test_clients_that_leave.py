"""Clients that leave in the middle of a response."""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import pytest
from fastapi import FastAPI
from litestar import Litestar, get
from litestar.response import Stream
from quart import Quart
from quart import Response as QuartResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from context_async_sqlalchemy import DBConnect, setup_db
from context_async_sqlalchemy_asgi.protocol import Receive, Scope, Send
from tests.conformance.service import REQUEST
from tests.conformance.statements import write
from tests.support.asgi_servers import Serve, under_hypercorn, under_uvicorn
from tests.support.connections import in_use
from tests.support.database import Database
from tests.support.waiting import until, until_async

pytestmark = pytest.mark.parametrize(
    "serve",
    [under_uvicorn, partial(under_uvicorn, http="h11"), under_hypercorn],
    ids=["uvicorn", "uvicorn-h11", "hypercorn"],
)


async def _pass_through(request: Request, call_next: RequestResponseEndpoint) -> Response:
    return await call_next(request)


def _starlette(body: Any) -> Any:
    async def endpoint(_request: Request) -> Response:
        return StreamingResponse(body())

    app = Starlette()
    app.add_route("/", endpoint)
    return app


def _with_base_http_middleware(body: Any) -> Any:
    app = _starlette(body)
    app.add_middleware(BaseHTTPMiddleware, dispatch=_pass_through)
    return app


def _fastapi(body: Any) -> Any:
    async def endpoint() -> Response:
        return StreamingResponse(body())

    app = FastAPI()
    app.add_api_route("/", endpoint)
    return app


def _quart(body: Any) -> Any:
    async def endpoint() -> QuartResponse:
        return QuartResponse(body())

    app = Quart("quart_app")
    app.add_url_rule("/", view_func=endpoint)
    return app


def _litestar(body: Any) -> Any:
    @get("/")
    async def endpoint() -> Stream:
        return Stream(body())

    return Litestar([endpoint])


@pytest.mark.parametrize("make", [_starlette, _with_base_http_middleware, _fastapi, _quart, _litestar])
async def test_a_stream_whose_client_leaves_commits_no_half_of_its_work(
    serve: Serve, connection: DBConnect, database: Database, make: Any
) -> None:
    ended = asyncio.Event()

    async def body() -> AsyncGenerator[bytes]:
        try:
            await write(connection, "debit")
            yield b"piece"
            await asyncio.Event().wait()
            await write(connection, "credit")
        finally:
            ended.set()

    app = make(body)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await asyncio.wait_for(reader.readuntil(b"piece"), 5)
        assert in_use(connection) == 1
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 5)
        await until(lambda: in_use(connection) == 0, "the connection is back")
        assert await database.notes() == []


async def test_an_application_that_does_not_complete_its_response_commits_nothing_more(
    serve: Serve, connection: DBConnect, database: Database
) -> None:
    async def endpoint(_request: Request) -> Any:
        await write(connection, "before the headers")

        async def respond(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"piece", "more_body": True})
            await write(connection, "in the stream")

        return respond

    app = Starlette()
    app.add_route("/", endpoint)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await asyncio.wait_for(reader.readuntil(b"piece"), 5)
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await until(lambda: in_use(connection) == 0, "the connection is back")
    assert await database.notes() == ["before the headers"]


async def test_a_background_task_of_a_complete_response_commits_after_its_client_has_left(
    serve: Serve, connection: DBConnect, database: Database
) -> None:
    left = asyncio.Event()

    async def in_background() -> None:
        await left.wait()
        await write(connection, "in background")

    async def endpoint(request: Request) -> Response:
        response = PlainTextResponse("answered") if request.url.path == "/" else StreamingResponse(iter(["answered"]))
        response.background = BackgroundTask(in_background)
        return response

    app = Starlette()
    app.add_route("/", endpoint)
    app.add_route("/stream", endpoint)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        for request in (REQUEST, REQUEST.replace(b" / ", b" /stream ")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            await asyncio.wait_for(reader.readuntil(b"answered"), 5)
            writer.transport.abort()
        left.set()

        async def have_written() -> bool:
            return len(await database.notes()) == 2

        await until_async(have_written, "both background tasks are committed")
