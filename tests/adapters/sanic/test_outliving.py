"""Tasks that outlive a Sanic request whose context had no session, or had one."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from sanic import response
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import (
    ContextClosedError,
    DBConnect,
    db_session,
    put_db_session_to_context,
    set_rollback,
    setup_db,
)
from tests.adapters.sanic.serving import serving
from tests.conformance.statements import run

Use = Callable[[DBConnect], Coroutine[Any, Any, object]]


async def _ask(connection: DBConnect) -> object:
    return await db_session(connection)


async def _put(connection: DBConnect) -> object:
    put_db_session_to_context(connection, AsyncSession())
    return None


@pytest.mark.parametrize("use", [_ask, _put])
@pytest.mark.parametrize("before", ["nothing but set_rollback", "a statement"])
async def test_a_task_that_outlives_its_request_is_refused(
    app: Any, connection: DBConnect, before: str, use: Use
) -> None:
    ended = asyncio.Event()
    left_over: list[asyncio.Task[object]] = []

    async def outlives() -> object:
        await ended.wait()
        return await use(connection)

    async def handler(_request: Any) -> response.HTTPResponse:
        if before == "a statement":
            await run(connection, "SELECT 1")
        else:
            set_rollback()
        left_over.append(asyncio.create_task(outlives()))
        return response.text("answered")

    app.add_route(handler, "/")
    setup_db(app, [connection])
    async with serving(app) as get:
        assert await get("/") == (200, "answered")
        ended.set()
        with pytest.raises(ContextClosedError):
            await left_over[0]
