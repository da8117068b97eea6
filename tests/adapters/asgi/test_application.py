"""Setting an ASGI application up: position, what is refused, what stops with it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar
from litestar import get as litestar_get
from quart import Quart
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from context_async_sqlalchemy import ASGIHTTPDBSessionMiddleware, DBConnect, setup_db
from context_async_sqlalchemy_asgi.protocol import Message, Receive, Scope, Send
from context_async_sqlalchemy_asgi.routes import route_template
from tests.conformance.statements import run
from tests.support.asgi_servers import under_uvicorn
from tests.support.database import Database
from tests.support.recorder import Recorder


class _PassThrough:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class _OpenTelemetry(_PassThrough):
    __module__ = "opentelemetry.instrumentation.asgi"


def _positions(app: Starlette) -> list[str]:
    return [getattr(middleware.cls, "__name__", "") for middleware in app.user_middleware]


@pytest.mark.parametrize("make", [Starlette, FastAPI])
def test_the_middleware_is_outermost_but_inside_of_leading_opentelemetry(
    make: type[Starlette], connection: DBConnect
) -> None:
    plain = make(middleware=[Middleware(_PassThrough)])
    setup_db(plain, [connection])
    assert _positions(plain) == ["DBContextMiddleware", "_PassThrough"]

    traced = make(middleware=[Middleware(_OpenTelemetry), Middleware(_PassThrough)])
    setup_db(traced, [connection])
    assert _positions(traced) == ["_OpenTelemetry", "DBContextMiddleware", "_PassThrough"]


def test_the_position_can_be_given(connection: DBConnect) -> None:
    app = Starlette(middleware=[Middleware(_OpenTelemetry), Middleware(_PassThrough)])
    setup_db(app, [connection], position=2)
    assert _positions(app) == ["_OpenTelemetry", "_PassThrough", "DBContextMiddleware"]


async def test_a_started_application_is_refused(connection: DBConnect) -> None:
    app = Starlette()
    async with under_uvicorn(app):
        with pytest.raises(RuntimeError, match="after the application had started"):
            setup_db(app, [connection])


def test_a_second_set_up_is_refused(connection: DBConnect) -> None:
    app = Starlette()
    setup_db(app, [connection])
    with pytest.raises(RuntimeError, match=r"DBContextMiddleware.* already: call setup_db once"):
        setup_db(app, [])


def test_a_set_up_beside_the_published_middleware_is_refused(connection: DBConnect) -> None:
    app = FastAPI()
    app.add_middleware(ASGIHTTPDBSessionMiddleware)
    with pytest.raises(RuntimeError, match=r"ASGIHTTPDBSessionMiddleware.* already"):
        setup_db(app, [connection])


def test_connections_are_checked(connection: DBConnect) -> None:
    with pytest.raises(ValueError, match="given twice"):
        setup_db(Starlette(), [connection, connection])
    with pytest.raises(ValueError, match="given twice"):
        ASGIHTTPDBSessionMiddleware(Starlette(), connections=[connection, connection])


async def test_engines_are_disposed_of_after_the_applications_own_shutdown(
    connection: DBConnect, database: Database
) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        yield
        async with (await connection.session_maker())() as session:
            await session.execute(text("SELECT 1"))
        events.append("own shutdown")

    app = Starlette(lifespan=lifespan)
    setup_db(app, [connection])
    async with under_uvicorn(app):
        pass
    assert events == ["own shutdown"]
    assert connection.engine is None
    await database.wait_for_backends("true", count=0)


async def test_a_startup_that_fails_leaves_no_connection(connection: DBConnect, database: Database) -> None:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with (await connection.session_maker())() as session:
            await session.execute(text("SELECT 1 / 0"))
        yield

    app = Starlette(lifespan=lifespan)
    setup_db(app, [connection])
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(DBAPIError):
        await app({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    await database.wait_for_backends("true", count=0)


@pytest.mark.parametrize("answer", ["raises", "returns"])
async def test_an_application_without_a_lifespan_has_its_engines_disposed_of(
    connection: DBConnect, database: Database, answer: str
) -> None:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if answer == "raises":
                raise ValueError(scope["type"])
            return
        await PlainTextResponse("")(scope, _receive, send)

    async with (
        under_uvicorn(ASGIHTTPDBSessionMiddleware(app, connections=[connection])),
        (await connection.session_maker())() as session,
    ):
        await session.execute(text("SELECT 1"))
    assert connection.engine is None
    await database.wait_for_backends("true", count=0)


async def test_an_unknown_lifespan_stays_so_where_there_is_nothing_to_dispose_of() -> None:
    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError(scope["type"])

    async def never(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(ValueError, match="lifespan"):
        await ASGIHTTPDBSessionMiddleware(app)({"type": "lifespan"}, never, never)


async def test_what_is_neither_a_request_nor_a_websocket_nor_a_lifespan_is_passed_on() -> None:
    seen: list[tuple[Any, ...]] = []

    async def app(*arguments: Any) -> None:
        seen.append(arguments)

    arguments: Any = ({"type": "telnet"}, object(), object())
    await ASGIHTTPDBSessionMiddleware(app)(*arguments)
    assert seen == [arguments]


async def test_the_template_of_a_route_has_its_mounts_and_no_values() -> None:
    templates: list[str | None] = []

    class Spy(_PassThrough):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(scope, receive, send)
            templates.append(route_template(scope))

    async def endpoint(_request: Request) -> Response:
        return PlainTextResponse("")

    mounted = FastAPI()
    mounted.add_api_route("/orders/{id}", endpoint)
    app = Starlette(routes=[Route("/{name}", endpoint)], middleware=[Middleware(Spy)])
    app.mount("/shops/{shop}", mounted)
    transport = httpx.ASGITransport(app, root_path="/behind/a/proxy")
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost/behind/a/proxy") as client:
        for path in ("/someone", "/shops/7/orders/8", "/shops/7/none", "/none/at/all"):
            await client.get(path)
    assert templates == ["/{name}", "/shops/{shop}/orders/{id}", "/shops/{shop}", None]


async def test_the_template_of_an_included_router_has_the_prefixes() -> None:
    templates: list[str | None] = []
    app, outer, inner = FastAPI(), APIRouter(), APIRouter()

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        templates.append(route_template(scope))

    async def endpoint() -> None: ...

    inner.add_api_route("/orders/{id}", endpoint)
    outer.include_router(inner, prefix="/v1")
    app.include_router(outer, prefix="/shops/{shop}")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asked), base_url="http://localhost") as client:
        await client.get("/shops/7/v1/orders/8")
    assert templates == ["/shops/{shop}/v1/orders/{id}"]


def test_a_plain_application_is_told_of_the_middleware(connection: DBConnect) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None: ...

    with pytest.raises(TypeError, match="ASGIHTTPDBSessionMiddleware"):
        setup_db(app, [connection])


def _starlette_that_selects(connection: DBConnect) -> Any:
    async def endpoint(_request: Request) -> Response:
        await run(connection, "SELECT 1")
        return PlainTextResponse("")

    return Starlette(routes=[Route("/", endpoint)])


def _quart_that_selects(connection: DBConnect) -> Any:
    async def endpoint() -> str:
        await run(connection, "SELECT 1")
        return ""

    app = Quart("quart_app")
    app.add_url_rule("/", view_func=endpoint)
    return app


def _litestar_that_selects(connection: DBConnect) -> Any:
    @litestar_get("/")
    async def endpoint() -> None:
        await run(connection, "SELECT 1")

    return Litestar([endpoint])


@pytest.mark.parametrize("make", [_starlette_that_selects, _quart_that_selects, _litestar_that_selects])
async def test_an_application_that_is_started_again_is_observed_again(make: Any, connection: DBConnect) -> None:
    recorder, app = Recorder(), make(connection)
    setup_db(app, [connection], observers=[recorder])
    for runs in (1, 2):
        async with (
            under_uvicorn(app) as port,
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{port}/") as response,
        ):
            assert response.status == 200
        assert len(recorder.contexts) == runs
        assert len(recorder.pools) == len(recorder.forgotten) == runs
