"""Rule 3: nothing of a success leaves before its commit has succeeded."""

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, db_context, db_session
from tests.conformance.driver import Exchange, Reply
from tests.conformance.service import Service
from tests.conformance.statements import run, write
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, SLOW_COMMIT_STATEMENT


@pytest.mark.parametrize("answer", ["returned", "raised", "streamed"])
async def test_no_byte_is_sent_while_the_commit_runs(service: Service, answer: str) -> None:
    async def handler(exchange: Exchange) -> Reply | None:
        await run(service.connection, SLOW_COMMIT_STATEMENT)
        if answer == "raised":
            raise exchange.answer_by_raising(302)
        if answer == "streamed":
            await exchange.stream()
            return None
        return Reply()

    async with service.running(handler) as client, client.raw() as raw:
        async with service.database.gate_shut():
            raw.send()
            await service.database.wait_for_statement("COMMIT")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(raw.reader.read(1), 0.05)
        status_line = await raw.reader.readline()
    assert status_line.split()[1] == (b"302" if answer == "raised" else b"200")
    assert await service.database.notes("slow_notes") == ["slow"]


@pytest.mark.parametrize("answer", ["returned", "raised"])
async def test_a_failing_commit_is_a_500(service: Service, answer: str) -> None:
    async def handler(exchange: Exchange) -> Reply:
        await run(service.connection, FAILING_COMMIT)
        if answer == "raised":
            raise exchange.answer_by_raising(302)
        return Reply(200, "kept")

    async with service.running(handler) as client:
        status, body = await client.get()
    assert status == 500
    assert "kept" not in body
    assert await service.database.notes("unique_notes") == []


async def test_after_a_failing_commit_the_connection_is_clean_for_the_next_request(
    service: Service,
) -> None:
    statements = [FAILING_COMMIT, "INSERT INTO notes (body) VALUES ('next')"]

    async def handler(_exchange: Exchange) -> Reply:
        await run(service.connection, statements.pop(0))
        return Reply()

    async with service.running(handler) as client:
        assert [(await client.get())[0], (await client.get())[0]] == [500, 200]
    assert await service.database.notes("unique_notes") == []
    assert await service.database.notes() == ["next"]


async def test_a_mapper_outside_maps_a_failing_commit(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await run(service.connection, FAILING_COMMIT)
        return Reply()

    async with service.running(handler, map_errors="outside") as client:
        assert await client.get() == (409, "IntegrityError")


async def test_what_a_mapper_inside_does_about_a_failing_commit(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await run(service.connection, FAILING_COMMIT)
        return Reply()

    async with service.running(handler, map_errors="inside") as client:
        assert (await client.get())[0] == (409 if service.driver.maps_failing_commits_inside else 500)


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_failing_commit_at_header_time_is_a_well_formed_500(service: Service, compressed: bool) -> None:
    async def handler(exchange: Exchange) -> None:
        await run(service.connection, FAILING_COMMIT)
        stream = await exchange.stream(compressed=compressed)
        await stream.write(b"never sent")

    async with service.running(handler) as client, client.raw() as raw:
        raw.send(headers=b"Accept-Encoding: gzip\r\n")
        head = await raw.reader.readuntil(b"\r\n\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, value in (line.split(b":", 1) for line in head.split(b"\r\n")[1:] if line)
        }
        assert head.split()[1] == b"500"
        assert b"content-encoding" not in headers
        if b"transfer-encoding" in headers:
            # An ASGI server chunks a body whose length the framework does not name.
            assert b"content-length" not in headers
            body = await raw.reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            body = await raw.reader.readexactly(int(headers[b"content-length"]))
        assert b"Internal Server Error" in body
    assert await service.database.notes("unique_notes") == []


async def test_a_failing_commit_refuses_the_websocket_handshake(service: Service) -> None:
    async def handler(exchange: Exchange) -> None:
        await run(service.connection, FAILING_COMMIT)
        await exchange.websocket()

    async with service.running(handler) as client:
        if service.driver.handler_accepts_websockets:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with client.websocket():
                    pass
            assert refused.value.status == 500
        else:
            async with client.websocket() as websocket:
                assert (await websocket.receive()).type in {WSMsgType.CLOSE, WSMsgType.CLOSED}
    assert await service.database.notes("unique_notes") == []


async def test_a_stream_commits_and_gives_its_connection_back_when_its_headers_go(service: Service) -> None:
    go_on = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await write(service.connection, "before")
        stream = await exchange.stream()
        await stream.write(b"started")
        await go_on.wait()

    async with service.running(handler) as client, client.streaming() as response:
        assert await response.content.readexactly(7) == b"started"
        assert await service.database.notes() == ["before"]
        assert in_use(service.connection) == 0
        go_on.set()
        assert await response.read() == b""


async def test_headers_that_go_within_a_nested_context_commit_what_is_the_requests(service: Service) -> None:
    seen: list[list[str]] = []

    async def handler(exchange: Exchange) -> None:
        await write(service.connection, "by the request")
        async with db_context():
            await write(service.connection, "nested")
            stream = await exchange.stream()
            seen.append(await service.database.notes())
            await stream.write(b"tick")

    async with service.running(handler) as client:
        assert await client.get() == (200, "tick")
    assert seen == [["by the request"]]
    assert await service.database.notes() == ["by the request", "nested"]


async def test_an_error_stream_rolls_back_when_its_headers_go(service: Service) -> None:
    go_on = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await write(service.connection, "discarded")
        stream = await exchange.stream(status=422)
        await stream.write(b"started")
        await go_on.wait()

    async with service.running(handler) as client, client.streaming() as response:
        assert response.status == 422
        await response.content.readexactly(7)
        assert in_use(service.connection) == 0
        go_on.set()
        await response.read()
    assert await service.database.notes() == []


async def test_work_of_a_stream_after_its_headers_is_committed_at_the_end(service: Service) -> None:
    async def handler(exchange: Exchange) -> None:
        await write(service.connection, "before")
        stream = await exchange.stream()
        await write(service.connection, "during")
        await stream.write(b"all")

    async with service.running(handler) as client, client.streaming() as response:
        assert await response.read() == b"all"
    assert await service.database.notes() == ["before", "during"]


async def test_a_stream_whose_first_use_comes_after_its_headers_commits_at_the_end(service: Service) -> None:
    async def handler(exchange: Exchange) -> None:
        stream = await exchange.stream()
        await write(service.connection, "during")
        await stream.write(b"all")

    async with service.running(handler) as client, client.streaming() as response:
        assert await response.read() == b"all"
    assert await service.database.notes() == ["during"]


@pytest.mark.parametrize("map_errors", [None, "outside"])
async def test_a_commit_that_fails_at_the_end_of_a_stream_cuts_the_connection(
    service: Service, map_errors: str | None
) -> None:
    async def handler(exchange: Exchange) -> None:
        stream = await exchange.stream()
        await stream.write(b"looks good")
        await run(service.connection, FAILING_COMMIT)

    async with (
        service.running(handler, map_errors="outside" if map_errors else None) as client,
        client.raw() as raw,
    ):
        raw.send()
        try:
            received = await raw.reader.read()
        except ConnectionResetError:
            received = b""
    # A complete chunked body ends by a chunk of length 0; a second status line would be part of the body.
    assert not received.endswith(b"0\r\n\r\n")
    assert received.count(b"HTTP/1.1") <= 1
    assert await service.database.notes("unique_notes") == []


async def test_an_exception_in_a_stream_keeps_what_its_headers_committed_and_discards_the_rest(
    service: Service,
) -> None:
    async def handler(exchange: Exchange) -> None:
        await write(service.connection, "before")
        stream = await exchange.stream()
        await write(service.connection, "during")
        await stream.write(b"started")
        raise ZeroDivisionError

    async with service.running(handler) as client, client.streaming() as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert await service.database.notes() == ["before"]


async def test_a_server_side_cursor_that_is_being_read_survives_the_headers(service: Service) -> None:
    in_use_while_streaming: list[int] = []

    async def handler(exchange: Exchange) -> None:
        await write(service.connection, "kept")
        session = await db_session(service.connection)
        rows = await session.stream_scalars(text("SELECT generate_series(1, 2000)"))
        stream = await exchange.stream()
        async for row in rows:
            await stream.write(b"%d " % row)
        in_use_while_streaming.append(in_use(service.connection))

    async with service.running(handler) as client, client.streaming() as response:
        assert (await response.read()).split()[-1] == b"2000"
    assert in_use_while_streaming == [1]
    assert await service.database.notes() == ["kept"]


async def test_a_server_side_cursor_read_to_its_end_holds_nothing_at_the_headers(service: Service) -> None:
    in_use_while_streaming: list[int] = []

    async def handler(exchange: Exchange) -> None:
        session = await db_session(service.connection)
        rows = await session.stream(text("SELECT generate_series(1, 200)"))
        assert len([row async for row in rows]) == 200
        stream = await exchange.stream()
        in_use_while_streaming.append(in_use(service.connection))
        await stream.write(b"all")
        del rows

    async with service.running(handler) as client, client.streaming() as response:
        assert await response.read() == b"all"
    assert in_use_while_streaming == [0]


async def test_commit_hooks_run_around_the_commit_before_the_response(service: Service) -> None:
    seen: list[tuple[str, list[str]]] = []

    async def before_commit(_session: object) -> None:
        await write(service.connection, "by the hook")
        seen.append(("before", await service.database.notes()))

    async def after_commit(_session: object) -> None:
        seen.append(("after", await service.database.notes()))
        await run(service.connection, "SELECT 1")

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "by the handler")
        return Reply()

    async with service.running(handler, before_commit=before_commit, after_commit=after_commit) as client:
        assert (await client.get())[0] == 200
    assert seen == [("before", []), ("after", ["by the handler", "by the hook"])]


@pytest.mark.parametrize(("hook", "kept"), [("before_commit", []), ("after_commit", ["written"])])
async def test_a_commit_hook_that_raises_is_a_500(service: Service, hook: str, kept: list[str]) -> None:
    async def raises(_session: object) -> None:
        raise KeyError(hook)

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "written")
        return Reply()

    options: dict[str, Any] = {hook: raises}
    async with service.running(handler, **options) as client:
        assert (await client.get())[0] == 500
    assert await service.database.notes() == kept


async def test_a_request_that_only_reads_is_ended_before_the_response_too(
    service: Service, connection: DBConnect
) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await run(connection, "SELECT 1")
        return Reply()

    async with service.running(handler) as client:
        await client.get()
        assert in_use(connection) == 0
