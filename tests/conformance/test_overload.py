"""A request that gets no connection in time is answered at once, and not after the pool's own time-out."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, PoolOverloadedError, db_context, db_session, run_in_new_ctx
from tests.conformance.driver import Driver, Exchange, Reply
from tests.conformance.service import Client, Service
from tests.conformance.statements import run, write
from tests.support.connections import connect_to
from tests.support.database import Database
from tests.support.models import Note
from tests.support.recorder import Recorder
from tests.support.waiting import until

_TRY_AGAIN_LATER = 1013


@pytest.fixture
async def limited(database: Database) -> AsyncGenerator[DBConnect]:
    connection = connect_to(database.url, pool_size=1, max_wait=0.05)
    yield connection
    await connection.close()


@pytest.fixture
def service(driver: Driver, limited: DBConnect, database: Database) -> Service:
    return Service(driver, limited, database)


@asynccontextmanager
async def _exhausted(connection: DBConnect) -> AsyncGenerator[None]:
    async with db_context():
        await run(connection, "SELECT 1")
        yield


async def _status_and_headers(client: Client, path: str | None = None) -> tuple[int, str | None, str]:
    async with client.streaming(path) as response:
        return response.status, response.headers.get("Retry-After"), await response.text()


async def test_a_shed_request_is_a_503_with_retry_after_and_is_counted(service: Service) -> None:
    recorder = Recorder()

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "never")
        return Reply()

    async with service.running(handler, observers=[recorder], others={"/shed/{id}": handler}) as client:
        async with _exhausted(service.connection):
            status, retry_after, body = await _status_and_headers(client, "/shed/1")
            # It had no transaction.
            await until(lambda: [each.outcome for each in recorder.contexts] == ["unused"], "the request is counted")
        assert (status, retry_after) == (503, "1")
        assert "main" not in body
        assert [(failure.failure, failure.route) for failure in recorder.failures] == [
            ("shed", service.driver.route("/shed/{id}"))
        ]
        assert await service.database.notes() == []


async def test_what_was_written_before_is_rolled_back(service: Service) -> None:
    second = connect_to(service.database.url, name="second", pool_size=1)

    async def handler(_exchange: Exchange) -> Reply:
        await write(second, "never")
        await run(service.connection, "SELECT 1")
        return Reply()

    async with service.running(handler, connections=[service.connection, second]) as client:
        async with _exhausted(service.connection):
            assert (await client.get())[0] == 503
        assert await service.database.notes() == []


async def test_a_flush_at_the_end_that_gets_no_connection_is_a_503_too(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        (await db_session(service.connection)).add(Note(body="never"))
        return Reply()

    recorder = Recorder()
    async with service.running(handler, observers=[recorder]) as client:
        async with _exhausted(service.connection):
            status, retry_after, _ = await _status_and_headers(client)
            await until(lambda: [each.outcome for each in recorder.contexts] == ["failed"], "the request is counted")
        assert (status, retry_after) == (503, "1")
        assert await service.database.notes() == []


async def test_a_handler_that_handles_the_error_answers_itself(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        try:
            await run(service.connection, "SELECT 1")
        except PoolOverloadedError:
            return Reply(429, "later")
        return Reply()

    async with service.running(handler) as client, _exhausted(service.connection):
        assert await client.get() == (429, "later")


async def test_the_application_s_error_mapper_answers_first(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await run(service.connection, "SELECT 1")
        return Reply()

    async with service.running(handler, map_errors="inside") as client, _exhausted(service.connection):
        assert await client.get() == (409, PoolOverloadedError.__name__)


async def test_without_answer_503_the_framework_answers(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await run(service.connection, "SELECT 1")
        return Reply()

    async with service.running(handler, answer_503=False) as client, _exhausted(service.connection):
        status, retry_after, _ = await _status_and_headers(client)
        assert (status, retry_after) == (500, None)


async def test_a_stream_whose_headers_are_out_is_cut(service: Service) -> None:
    async def handler(exchange: Exchange) -> Reply | None:
        stream = await exchange.stream()
        await stream.write(b"piece")
        # The context is used, so that Sanic knows that work may be lost.
        session = await db_session(service.connection)
        await session.execute(text("SELECT 1"))
        return None

    async with service.running(handler) as client, _exhausted(service.connection), client.streaming() as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


@pytest.mark.parametrize("unit", ["the websocket's", "a message's"])
async def test_an_open_websocket_is_closed_by_1013(service: Service, unit: str) -> None:
    async def select() -> None:
        await run(service.connection, "SELECT 1")

    async def handler(exchange: Exchange) -> None:
        websocket = await exchange.websocket()
        await websocket.send("hello")
        await (select() if unit == "the websocket's" else run_in_new_ctx(select))

    async with service.running(handler) as client, _exhausted(service.connection), client.websocket() as websocket:
        assert await websocket.receive_str() == "hello"
        assert (await websocket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING)
        assert websocket.close_code == _TRY_AGAIN_LATER


async def test_a_handshake_is_refused_by_503(service: Service) -> None:
    if not service.driver.handler_accepts_websockets:
        return

    async def handler(exchange: Exchange) -> None:
        await run(service.connection, "SELECT 1")
        await exchange.websocket()

    async with service.running(handler) as client, _exhausted(service.connection):
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            async with client.websocket():
                pass
    assert raised.value.status == 503
    headers: Any = raised.value.headers
    assert headers["Retry-After"] == "1"
