"""Two statements of one ``asyncio.gather`` on the session of a request: the error and the log say what it is."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from context_async_sqlalchemy import DBConnect, db_session, setup_db
from tests.support.connections import in_use
from tests.support.waiting import until

SAID = "Another task is using the session at this moment"


async def _gathered(connection: DBConnect) -> None:
    session = await db_session(connection)
    await asyncio.gather(*(session.execute(text("SELECT 1")) for _ in range(2)))


async def _grouped(connection: DBConnect) -> None:
    session = await db_session(connection)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(session.execute(text("SELECT 1")))


@pytest.mark.parametrize("use", [_gathered, _grouped])
async def test_on_a_cold_pool(
    connection: DBConnect,
    aiohttp_client: AiohttpClient,
    caplog: pytest.LogCaptureFixture,
    use: Callable[[DBConnect], Awaitable[None]],
) -> None:
    raised: list[BaseException] = []

    async def handler(_request: web.Request) -> web.Response:
        try:
            await use(connection)
        except BaseException as error:
            raised.append(error)
            raise
        return web.Response()

    app = web.Application()
    app.router.add_get("/", handler)
    setup_db(app, [connection])
    client = await aiohttp_client(app)
    assert (await client.get("/")).status == 500
    await until(lambda: in_use(connection) == 0, "the connection is back")
    (error,) = raised
    if isinstance(error, BaseExceptionGroup):
        (error,) = cast("BaseExceptionGroup[BaseException]", error).exceptions
    assert isinstance(error, InvalidRequestError)
    (note,) = error.__notes__
    assert SAID in note
    assert "run_in_new_ctx" in note
    told = [record for record in caplog.records if record.name == "context_async_sqlalchemy"]
    assert all(SAID in record.getMessage() for record in told if record.levelno >= logging.WARNING), told
