"""The surroundings of a handler in Sanic: blueprints, versions, middleware, error handlers and background tasks."""

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp
import pytest
from sanic import Blueprint, HTTPResponse, Request, response
from sanic.exceptions import Forbidden

from context_async_sqlalchemy import ContextClosedError, DBConnect, db_session, run_in_new_ctx, setup_db
from context_async_sqlalchemy.observer import Observer
from tests.adapters.sanic.serving import Answers, begin, is_cut, received, serving
from tests.conformance.statements import run, write
from tests.support.asgi_servers import under_uvicorn
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, Database
from tests.support.recorder import Recorder
from tests.support.waiting import until

AnyRequest = Request[Any, Any]
Server = Literal["sanic", "asgi"]

on_each_server = pytest.mark.parametrize("server", ["sanic", "asgi"])


@asynccontextmanager
async def _served(app: Any, server: Server, connection: DBConnect) -> AsyncGenerator[Answers]:
    if server == "sanic":
        async with serving(app) as answers:
            yield answers
            await until(lambda: not app.ctx.db_lifecycle.live and not in_use(connection), "nothing is held")
        return
    async with under_uvicorn(app) as port, aiohttp.ClientSession() as session:
        yield Answers(port, session)
        await until(lambda: not app.ctx.db_lifecycle.live and not in_use(connection), "nothing is held")


@on_each_server
async def test_a_versioned_blueprint_in_a_group_shares_the_session_of_its_middleware(
    app: Any, connection: DBConnect, database: Database, server: Server
) -> None:
    recorder = Recorder()
    shop: Any = Blueprint("shop", url_prefix="/shop", version=2)

    @shop.on_request  # type: ignore[untyped-decorator] # `shop` is Any
    async def audit(_request: AnyRequest) -> None:
        await write(connection, "by the middleware")

    @shop.get("/orders/<number:int>")  # type: ignore[untyped-decorator] # as above
    async def order(_request: AnyRequest, number: int) -> HTTPResponse:
        await write(connection, f"order {number}")
        return response.text("ok", status=200 if number < 100 else 422)

    group: Any = Blueprint.group(shop, url_prefix="/api")
    app.blueprint(group)
    setup_db(app, [connection], observers=[recorder])
    async with _served(app, server, connection) as answers:
        assert await answers("/v2/api/shop/orders/1") == (200, "ok")
        assert await answers("/v2/api/shop/orders/100") == (422, "ok")
    assert await database.notes() == ["by the middleware", "order 1"]
    assert {context.route for context in recorder.contexts} == {"GET /v2/api/shop/orders/<number:int>"}


@on_each_server
@pytest.mark.parametrize("status", [200, 403])
async def test_a_middleware_that_answers_early_decides_by_its_status(
    app: Any, connection: DBConnect, database: Database, server: Server, status: int
) -> None:
    async def answer(_request: AnyRequest) -> HTTPResponse:
        await write(connection, "by the middleware")
        return response.text("early", status=status)

    async def unreachable(_request: AnyRequest) -> HTTPResponse:
        raise AssertionError

    app.on_request(answer)
    app.add_route(unreachable, "/")
    setup_db(app, [connection])
    async with _served(app, server, connection) as answers:
        assert await answers("/") == (status, "early")
    assert await database.notes() == (["by the middleware"] if status == 200 else [])


@on_each_server
@pytest.mark.parametrize("broken", ["handler", "middleware", "COMMIT"])
async def test_an_error_handler_finds_a_clean_session_and_commits_nothing_of_it(
    app: Any, connection: DBConnect, database: Database, server: Server, broken: str
) -> None:
    seen: list[bool] = []

    async def answer(_request: AnyRequest, _error: Exception) -> HTTPResponse:
        if broken != "COMMIT":
            session = await db_session(connection)
            seen.append(session.in_transaction())
            await write(connection, "in the request's context")
        await run_in_new_ctx(write, connection, "in a context of its own")
        return response.text("told", status=409)

    async def refuse(_request: AnyRequest) -> None:
        if broken == "middleware":
            await write(connection, "discarded")
            raise Forbidden

    async def handler(_request: AnyRequest) -> HTTPResponse:
        await run(connection, FAILING_COMMIT)
        if broken == "handler":
            raise ZeroDivisionError
        return response.text("never")

    app.on_request(refuse)
    app.error_handler.add(Exception, answer)
    app.add_route(handler, "/")
    setup_db(app, [connection])
    async with _served(app, server, connection) as answers:
        assert await answers("/") == (409, "told")
    assert seen == ([] if broken == "COMMIT" else [False])
    assert await database.notes() == ["in a context of its own"]
    assert await database.notes("unique_notes") == []


@on_each_server
async def test_a_background_task_needs_a_context_of_its_own(
    app: Any, connection: DBConnect, database: Database, server: Server
) -> None:
    answered, told = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    refused: list[Exception] = []

    async def work() -> None:
        await answered.wait()
        try:
            await db_session(connection)
        except ContextClosedError as error:
            refused.append(error)
        await run_in_new_ctx(write, connection, "by the task")
        told.set()

    async def handler(_request: AnyRequest) -> HTTPResponse:
        await write(connection, "by the handler")
        tasks.append(asyncio.create_task(work()))
        return response.text("ok")

    app.add_route(handler, "/")
    setup_db(app, [connection])
    async with _served(app, server, connection) as answers:
        assert await answers("/") == (200, "ok")
        answered.set()
        await asyncio.wait_for(told.wait(), 10)
    assert len(refused) == 1
    assert await database.notes() == ["by the handler", "by the task"]


@pytest.mark.parametrize("length", [None, 5])
@pytest.mark.parametrize("ends", ["by its last byte", "by eof()"])
async def test_a_stream_that_ends_its_own_body_is_cut_on_an_asgi_server_too(
    app: Any, connection: DBConnect, database: Database, length: int | None, ends: str
) -> None:
    async def handler(request: Any) -> None:
        stream = await begin(request, length)
        await run(connection, FAILING_COMMIT)
        await stream.send("it")
        if ends == "by eof()":
            await stream.eof()

    app.add_route(handler, "/")
    setup_db(app, [connection])
    async with _served(app, "asgi", connection) as answers:
        assert is_cut(await received(answers))
    assert await database.notes("unique_notes") == []


@on_each_server
@pytest.mark.parametrize("length", [None, 5])
async def test_a_stream_is_committed_before_its_last_byte(
    app: Any, connection: DBConnect, database: Database, server: Server, length: int | None
) -> None:
    async def handler(request: Any) -> None:
        stream = await begin(request, length)
        await write(connection, "during")
        await stream.send("i")
        await stream.send("t")

    app.add_route(handler, "/")
    setup_db(app, [connection])
    async with _served(app, server, connection) as answers:
        head, _, body = (await received(answers)).partition(b"\r\n\r\n")
        assert b"200" in head.splitlines()[0]
        assert body == (b"allit" if length else b"3\r\nall\r\n1\r\ni\r\n1\r\nt\r\n0\r\n\r\n")
        assert await database.notes() == ["during"]


@pytest.fixture
def without_logs() -> Generator[None]:
    # pytest keeps each record of a log, with the frames of its exception.
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


class _Traced:
    """An object of a handler, whose end can be seen."""


@pytest.mark.usefixtures("without_logs")
@on_each_server
async def test_nothing_of_a_request_is_kept_after_a_failed_commit(
    app: Any, connection: DBConnect, server: Server
) -> None:
    kept: list[weakref.ref[_Traced]] = []

    async def handler(request: AnyRequest) -> HTTPResponse:
        traced = _Traced()
        request.ctx.traced = traced
        kept.append(weakref.ref(traced))
        await run(connection, FAILING_COMMIT)
        return response.text("never")

    app.add_route(handler, "/")
    # asyncio keeps a cancelled timer, with its context variables, until its time has come.
    setup_db(app, [connection], observers=[Observer()], finish_timeout=1.0)

    def are_collected() -> bool:
        gc.collect()
        # The client's connection keeps its last request, the database's the one that it was made in.
        return len(app.ctx.db_contexts) <= 2 and len([one for one in kept if one() is not None]) <= 2

    async with _served(app, server, connection) as answers:
        for _ in range(10):
            assert (await answers("/"))[0] == 500
        await until(are_collected, "the requests are collected")
