"""Middlewares that stand outside of the library's see the error of a shed request, if a position was passed."""

from collections.abc import AsyncGenerator

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from pytest_aiohttp.plugin import AiohttpClient

from context_async_sqlalchemy import DBConnect, PoolOverloadedError, db_context, setup_db
from tests.conformance.statements import run
from tests.support.connections import connect_to
from tests.support.database import Database


@web.middleware
async def _answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except PoolOverloadedError:
        if request.path == "/left":
            raise
        return web.json_response({"error": "later"}, status=503)


@pytest.fixture
async def limited(database: Database) -> AsyncGenerator[DBConnect]:
    connection = connect_to(database.url, pool_size=1, max_wait=0.05)
    yield connection
    await connection.close()


@pytest.mark.parametrize(("path", "body", "retry_after"), [("/", "later", None), ("/left", "overloaded", "1")])
async def test_an_error_mapper_outside_answers_first(
    limited: DBConnect, aiohttp_client: AiohttpClient, path: str, body: str, retry_after: str | None
) -> None:
    async def handle(_request: web.Request) -> web.Response:
        await run(limited, "SELECT 1")
        return web.Response()

    app = web.Application(middlewares=[_answer_in_json])
    app.router.add_get("/{tail:.*}", handle)
    setup_db(app, [limited], position=1)
    client = await aiohttp_client(app)
    async with db_context():
        await run(limited, "SELECT 1")
        response = await client.get(path)
        assert response.status == 503
        assert response.headers.get("Retry-After") == retry_after
        assert body in await response.text()
