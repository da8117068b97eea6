"""Setting an aiohttp application up: position, what is refused, what stops with it."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from pytest_aiohttp.plugin import AiohttpClient
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect, db_context, db_session, is_context_initiated, setup_db
from tests.conformance.statements import write
from tests.support.database import Database


@web.middleware
async def pass_through(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)


@web.middleware
async def open_telemetry(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)


open_telemetry.__module__ = "opentelemetry.instrumentation.aiohttp_server"


def _positions(app: web.Application) -> list[str]:
    return [middleware.__name__ for middleware in app.middlewares]  # type: ignore[attr-defined]


def test_the_middleware_is_outermost_but_inside_of_leading_opentelemetry(connection: DBConnect) -> None:
    plain = web.Application(middlewares=[pass_through])
    setup_db(plain, [connection])
    assert _positions(plain) == ["db_context", "pass_through"]

    traced = web.Application(middlewares=[open_telemetry, pass_through])
    setup_db(traced, [connection])
    assert _positions(traced) == ["open_telemetry", "db_context", "pass_through"]


def test_the_position_can_be_given(connection: DBConnect) -> None:
    app = web.Application(middlewares=[open_telemetry, pass_through])
    setup_db(app, [connection], position=2)
    assert _positions(app) == ["open_telemetry", "pass_through", "db_context"]


def test_a_sub_application_that_is_added_already_is_refused(connection: DBConnect) -> None:
    parent, mounted = web.Application(), web.Application()
    parent.add_subapp("/mounted/", mounted)
    with pytest.raises(RuntimeError, match="before add_subapp, or on the parent"):
        setup_db(mounted, [connection])


async def test_a_started_application_is_refused(connection: DBConnect, aiohttp_client: AiohttpClient) -> None:
    app = web.Application()
    await aiohttp_client(app)
    with pytest.raises(RuntimeError, match="after the application had started"):
        setup_db(app, [connection])


def test_a_second_set_up_of_one_application_is_refused(connection: DBConnect) -> None:
    app = web.Application()
    setup_db(app, [connection])
    with pytest.raises(RuntimeError, match="called twice"):
        setup_db(app, [])


async def test_a_sub_application_uses_a_context_that_a_middleware_of_its_parent_has_opened(
    connection: DBConnect, aiohttp_client: AiohttpClient
) -> None:
    sessions: list[AsyncSession] = []

    @web.middleware
    async def open_its_own(request: web.Request, handler: Handler) -> web.StreamResponse:
        async with db_context():
            sessions.append(await db_session(connection))
            return await handler(request)

    async def handler(_request: web.Request) -> web.Response:
        sessions.append(await db_session(connection))
        return web.Response()

    parent, mounted = web.Application(middlewares=[open_its_own]), web.Application()
    mounted.router.add_get("/", handler)
    setup_db(mounted, [])
    parent.add_subapp("/mounted/", mounted)
    setup_db(parent, [connection])
    client = await aiohttp_client(parent)
    assert (await client.get("/mounted/")).status == 200
    assert sessions[0] is sessions[1]


async def test_a_404_has_a_context_and_takes_nothing(connection: DBConnect, aiohttp_client: AiohttpClient) -> None:
    seen: list[bool] = []

    @web.middleware
    async def look(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen.append(is_context_initiated())
        return await handler(request)

    app = web.Application(middlewares=[look])
    setup_db(app, [connection])
    client = await aiohttp_client(app)
    assert (await client.get("/nowhere")).status == 404
    assert seen == [True]
    assert connection.engine is None


async def test_a_handler_that_returns_nothing_is_told_so_by_aiohttp_and_rolled_back(
    connection: DBConnect, database: Database, aiohttp_client: AiohttpClient
) -> None:
    async def handler(_request: web.Request) -> web.Response:
        await write(connection, "discarded")
        return None  # type: ignore[return-value]

    app = web.Application()
    app.router.add_get("/", handler)
    setup_db(app, [connection])
    client = await aiohttp_client(app)
    assert (await client.get("/")).status == 500
    assert await database.notes() == []


async def test_the_engines_of_an_application_are_disposed_of_when_it_stops(
    connection: DBConnect, database: Database, aiohttp_client: AiohttpClient
) -> None:
    async def handler(_request: web.Request) -> web.Response:
        await write(connection, "kept")
        return web.Response()

    app = web.Application()
    app.router.add_get("/", handler)
    setup_db(app, [connection])
    client = await aiohttp_client(app)
    await client.get("/")
    assert await database.backends() == 1
    await client.close()
    assert connection.engine is None
    await database.wait_for_backends("true", count=0)


async def test_a_handler_that_ignores_its_cancellation_is_told_of_at_shutdown(
    connection: DBConnect,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        await write(connection, "late")
        reached.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        return web.Response()

    app = web.Application()
    app.router.add_get("/", handler)
    setup_db(app, [connection], drain_timeout=0.05)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reached.wait()
    await runner.cleanup()
    writer.close()
    assert "1 database context(s) still open after 0.05 s" in caplog.text
    go_on.set()
    await database.wait_for_backends("true", count=0)
