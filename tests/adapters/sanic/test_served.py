"""A Sanic application in a process of its own: on Sanic's server with TouchUp and uvloop, and on an ASGI server."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.support.database import Database
from tests.support.ports import free_port
from tests.support.roles import role
from tests.support.waiting import until_async

_PYTHON = (sys.executable, "-m")
_APPLICATION = "tests.adapters.sanic.served"
COMMANDS = {
    "sanic": (*_PYTHON, _APPLICATION, "sanic", "{port}"),
    "asgi": (*_PYTHON, _APPLICATION, "asgi", "{port}"),
    "workers": (
        *(*_PYTHON, "sanic", f"{_APPLICATION}:create_app", "--factory"),
        *("--port={port}", "--workers=2", "--no-motd", "--no-access-logs"),
    ),
}

on_each_server = pytest.mark.parametrize("server", ["sanic", "asgi"])


@asynccontextmanager
async def _serving(
    server: str, database: Database
) -> AsyncGenerator[tuple[aiohttp.ClientSession, asyncio.subprocess.Process]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(argument.format(port=port) for argument in COMMANDS[server]),
        env={**os.environ, "SERVED_DATABASE_URL": database.url},
        start_new_session=True,
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:

            async def answers() -> bool:
                try:
                    async with client.get("/nowhere") as response:
                        return response.status == 404
                except aiohttp.ClientConnectionError:
                    return False

            await until_async(answers, "the application is served")
            yield client, process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 20)
        finally:
            # A server that does not stop must not leave workers behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@asynccontextmanager
async def _starting(server: str, url: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, asyncio.StreamReader]]:
    """Start an application that checks its database; yield its process and what it says."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(argument.format(port=port) for argument in COMMANDS[server]),
        env={**os.environ, "SERVED_DATABASE_URL": url, "SERVED_CHECKED": "yes"},
        start_new_session=True,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # The pipe is read to its end, because it is closed only then.
        await process.communicate()


@pytest.mark.parametrize("server", COMMANDS)
async def test_a_database_that_is_down_stops_the_start(server: str) -> None:
    port = free_port()
    async with _starting(server, f"postgresql+asyncpg://u@127.0.0.1:{port}/shop") as (process, output):
        said = (await asyncio.wait_for(output.read(), 30)).decode()
        assert await process.wait() != 0
    assert f"host '127.0.0.1:{port}', database 'shop') cannot be opened: nothing answers there" in said


async def test_the_pools_of_all_workers_are_counted(database: Database) -> None:
    async with role(database.url, "known", limit=20) as shopkeeper:
        url = shopkeeper.url.render_as_string(hide_password=False)
        async with _starting("workers", url) as (_, output):
            said = await asyncio.wait_for(output.readuntil(b"and there are"), 30)
        await database.wait_for_backends("true", count=0)
    assert b"the role 'shopkeeper' of the server" in said
    assert b"allows: 2 processes x (" in said
    assert b" 5 + 10 overflow) = 30, and there are" in said


@on_each_server
async def test_how_requests_end(server: str, database: Database) -> None:
    async with _serving(server, database) as (client, _):
        for _ in range(2):
            async with client.get("/written") as response:
                assert response.status == 200
        async with client.get("/failing") as response:
            assert response.status == 500
        async with client.get("/failing_stream") as response:
            assert response.status == 500
        async with client.get("/streamed") as response:
            assert await response.read() == b"started done"
    assert await database.notes() == ["after the headers", "before the headers", "kept", "kept"]
    assert await database.notes("unique_notes") == []
    await database.wait_for_backends("true", count=0)


@on_each_server
async def test_a_commit_that_fails_after_a_stream_cuts_it(server: str, database: Database) -> None:
    async with _serving(server, database) as (client, _), client.get("/failing_after_a_stream") as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()
        await database.wait_for_backends("state LIKE 'idle in transaction%'", count=0)
    assert await database.notes("unique_notes") == []


@on_each_server
@pytest.mark.parametrize("handler", ["stuck", "stuck_after_a_child", "stuck_in_a_stream"])
async def test_a_request_in_flight_at_a_shutdown(server: str, handler: str, database: Database) -> None:
    async with _serving(server, database) as (client, process):
        request = asyncio.create_task(client.get(f"/{handler}"))
        await database.wait_for_backends("state = 'idle in transaction'")
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 20)
        with pytest.raises((aiohttp.ClientError, AssertionError)):
            response = await request
            await response.read()
            assert response.status < 500
    await database.wait_for_backends("true", count=0)
    assert await database.notes() == []


@pytest.mark.parametrize("handler", ["stuck", "stuck_in_a_statement"])
async def test_a_response_timeout_rolls_back(handler: str, database: Database) -> None:
    async with _serving("sanic", database) as (client, _), client.get(f"/{handler}") as response:
        assert response.status == 503
        await database.wait_for_backends("state LIKE 'idle in transaction%' OR state = 'active'", count=0)
    assert await database.notes() == []


async def test_a_response_timeout_in_a_stream_rolls_back(database: Database) -> None:
    async with _serving("sanic", database) as (client, _), client.get("/stuck_in_a_stream") as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()
        await database.wait_for_backends("state LIKE 'idle in transaction%'", count=0)
    assert await database.notes() == []


async def test_a_response_timeout_does_not_interrupt_a_commit(database: Database) -> None:
    async with _serving("sanic", database) as (client, _):
        async with database.gate_shut():
            request = asyncio.create_task(client.get("/slow_commit"))
            await database.wait_for_statement("COMMIT")
            # Longer than the RESPONSE_TIMEOUT of the application, which looks as often.
            await asyncio.sleep(0.9)
        assert (await request).status in {204, 503}
        await database.wait_for_backends("state = 'idle'")
    assert await database.notes("slow_notes") == ["slow"]


async def test_workers(database: Database) -> None:
    async with _serving("workers", database) as (client, process):
        workers: set[str] = set()
        requests = 0

        async def each_worker_has_answered() -> bool:
            nonlocal requests
            # A worker has a connection for as long as it is kept alive.
            async with client.get("/written", headers={"Connection": "close"}) as response:
                assert response.status == 200
                requests += 1
                workers.add(await response.text())
            return len(workers) == 2

        await until_async(each_worker_has_answered, "both workers have answered")
        for _ in range(4):
            async with client.get("/failing", headers={"Connection": "close"}) as response:
                assert response.status == 500
        await database.wait_for_backends("state = 'idle'", count=2)
        # Not by a signal: in 3 of 120 runs of a bare application Sanic's main process fails then, or hangs, as its
        # handler speaks to the state's process in the middle of another such exchange (25.12.1, worker/manager.py).
        async with client.get("/shut_down", headers={"Connection": "close"}) as response:
            assert response.status == 204
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert await database.notes() == ["kept"] * requests
    assert await database.notes("unique_notes") == []
    await database.wait_for_backends("true", count=0)
