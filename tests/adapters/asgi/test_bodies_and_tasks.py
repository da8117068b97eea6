"""Streams, background tasks, dependencies of FastAPI, and Starlette's middleware that runs tasks."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Annotated, Any

import aiohttp
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from context_async_sqlalchemy import ASGIHTTPDBSessionMiddleware, DBConnect, db_context, db_session, setup_db
from tests.conformance.service import REQUEST
from tests.conformance.statements import run, write
from tests.support.asgi_servers import Serve, under_hypercorn, under_uvicorn
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, Database
from tests.support.waiting import until, until_async

Endpoint = Callable[[Request], Awaitable[Response]]

pytestmark = pytest.mark.parametrize("serve", [under_uvicorn, under_hypercorn], ids=["uvicorn", "hypercorn"])


def _app(endpoint: Endpoint) -> Starlette:
    return Starlette(routes=[Route("/", endpoint)])


async def _get(port: int) -> tuple[int, str]:
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/") as response:
        return response.status, await response.text()


async def _pass_through(request: Request, call_next: RequestResponseEndpoint) -> Response:
    return await call_next(request)


def _streaming(connection: DBConnect, *, fails: str = "", headers: dict[str, str] | None = None) -> Endpoint:
    async def body() -> AsyncGenerator[str]:
        session = await db_session(connection)
        for _ in range(3):
            await session.execute(text("INSERT INTO notes (body) VALUES ('during')"))
            yield "piece "
        if fails == "in the body":
            raise ZeroDivisionError
        if fails == "in the last commit":
            await run(connection, FAILING_COMMIT)

    async def endpoint(_request: Request) -> Response:
        await write(connection, "before")
        return StreamingResponse(body(), headers=headers)

    return endpoint


async def test_a_stream_commits_at_its_headers_and_before_its_last_piece(
    serve: Serve, connection: DBConnect, database: Database
) -> None:
    app = _app(_streaming(connection))
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        assert await _get(port) == (200, "piece piece piece ")
        # Not "some time after": the client has the last piece.
        assert await database.notes() == ["before", "during", "during", "during"]
        assert in_use(connection) == 0


@pytest.mark.parametrize("added", ["by setup_db", "by hand"])
@pytest.mark.parametrize("headers", [{}, {"content-length": "18"}], ids=["chunked", "of known length"])
async def test_a_stream_inside_of_a_base_http_middleware_does_not_race_with_its_commit(
    serve: Serve, connection: DBConnect, database: Database, added: str, headers: dict[str, str]
) -> None:
    app = _app(_streaming(connection, headers=headers))
    for _ in range(1 if added == "by setup_db" else 2):
        app.add_middleware(BaseHTTPMiddleware, dispatch=_pass_through)
    if added == "by setup_db":
        setup_db(app, [])
    else:
        app.add_middleware(ASGIHTTPDBSessionMiddleware)
    async with serve(app, 5) as port:
        for _ in range(5):
            assert await _get(port) == (200, "piece piece piece ")
        await until(lambda: in_use(connection) == 0, "the connection is back")
    assert await database.notes() == ["before"] * 5 + ["during"] * 15


async def test_a_stream_with_a_context_of_its_own_is_safe_under_any_middleware(
    serve: Serve, connection: DBConnect, database: Database
) -> None:
    async def body() -> AsyncGenerator[str]:
        async with db_context():
            for _ in range(3):
                await write(connection, "during")
                yield "piece "

    async def endpoint(_request: Request) -> Response:
        await write(connection, "before")
        return StreamingResponse(body())

    unseen = Middleware(BaseHTTPMiddleware, dispatch=_pass_through)
    app = Starlette(routes=[Route("/", endpoint, middleware=[unseen])])
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        for _ in range(5):
            assert await _get(port) == (200, "piece piece piece ")
        await until(lambda: in_use(connection) == 0, "the connection is back")
    assert await database.notes() == ["before"] * 5 + ["during"] * 15


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("fails", ["in the body", "in the last commit"])
async def test_a_stream_that_loses_work_is_cut(
    serve: Serve, connection: DBConnect, database: Database, fails: str, layers: int
) -> None:
    app = _app(_streaming(connection, fails=fails))
    for _ in range(layers):
        app.add_middleware(BaseHTTPMiddleware, dispatch=_pass_through)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        with pytest.raises(aiohttp.ClientPayloadError):
            await _get(port)
        await until(lambda: in_use(connection) == 0, "the connection is back")
    assert await database.notes() == ["before"]


async def test_a_base_http_middleware_inside_decides_by_its_final_answer(
    serve: Serve, connection: DBConnect, database: Database
) -> None:
    async def endpoint(_request: Request) -> Response:
        await write(connection, "discarded")
        return PlainTextResponse("fine")

    async def refuse(request: Request, call_next: RequestResponseEndpoint) -> Response:
        await call_next(request)
        return PlainTextResponse("too late", 409)

    app = _app(endpoint)
    app.add_middleware(BaseHTTPMiddleware, dispatch=refuse)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        assert await _get(port) == (409, "too late")
    assert await database.notes() == []


async def test_a_client_that_leaves_a_stream_gives_the_connection_back(
    serve: Serve, connection: DBConnect, database: Database
) -> None:
    started = asyncio.Event()

    async def body() -> AsyncGenerator[str]:
        await write(connection, "discarded")
        yield "started"
        started.set()
        await run(connection, "SELECT pg_sleep(60)")

    async def endpoint(_request: Request) -> Response:
        return StreamingResponse(body())

    app = _app(endpoint)
    setup_db(app, [connection])
    async with serve(app, 5) as port, aiohttp.ClientSession() as client:
        async with client.get(f"http://127.0.0.1:{port}/") as response:
            await started.wait()
            response.close()
        await until(lambda: in_use(connection) == 0, "the connection is back")
    assert await database.notes() == []


async def test_a_background_task_has_a_transaction_of_its_own_after_the_response(
    serve: Serve, connection: DBConnect, database: Database
) -> None:
    answered = asyncio.Event()

    async def in_background() -> None:
        await answered.wait()
        await write(connection, "in background")

    async def endpoint(_request: Request) -> Response:
        await write(connection, "by the endpoint")
        return PlainTextResponse("answered", background=BackgroundTask(in_background))

    app = _app(endpoint)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        assert await _get(port) == (200, "answered")
        assert await database.notes() == ["by the endpoint"]
        assert in_use(connection) == 0
        answered.set()

        async def has_written() -> bool:
            return len(await database.notes()) == 2

        await until_async(has_written, "the background task is committed")
    assert in_use(connection) == 0


@pytest.mark.parametrize(("scope", "status"), [("function", 500), ("request", 200)])
async def test_a_dependency_that_ends_before_the_response_can_still_fail_it(
    serve: Serve, connection: DBConnect, database: Database, scope: Any, status: int
) -> None:
    async def writes_at_its_end() -> AsyncGenerator[None]:
        yield
        await run(connection, FAILING_COMMIT)

    async def endpoint(_: Annotated[None, Depends(writes_at_its_end, scope=scope)]) -> None:
        await write(connection, "by the endpoint")

    app = FastAPI()
    app.add_api_route("/", endpoint)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        assert (await _get(port))[0] == status
        await until(lambda: in_use(connection) == 0, "the connection is back")
    # The default of FastAPI ends it after the response: its own work is lost, what was answered is kept.
    assert await database.notes() == ([] if status == 500 else ["by the endpoint"])
    assert await database.notes("unique_notes") == []


async def test_a_request_that_follows_on_the_connection_does_not_get_the_context_of_a_background_task(
    serve: Serve, connection: DBConnect, database: Database
) -> None:
    go_on = asyncio.Event()
    seen: list[AsyncSession] = []

    async def in_background() -> None:
        await go_on.wait()
        await write(connection, "in background")

    async def endpoint(_request: Request) -> Response:
        seen.append(await db_session(connection))
        await write(connection, f"by request {len(seen)}")
        if len(seen) == 1:
            return PlainTextResponse("first", background=BackgroundTask(in_background))
        go_on.set()
        return PlainTextResponse("second", 409)

    app = _app(endpoint)
    setup_db(app, [connection])
    async with serve(app, 5) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        # Pipelined: uvicorn starts the second in the task of the first, and so in a copy of its contextvars.
        writer.write(REQUEST + REQUEST)
        await asyncio.wait_for(reader.readuntil(b"first"), 5)
        await until(lambda: len(seen) == 2 or go_on.is_set(), "the second request is handled")
        await asyncio.wait_for(reader.readuntil(b"second"), 5)
        writer.close()
    assert seen[0] is not seen[1]
    assert await database.notes() == ["by request 1", "in background"]
