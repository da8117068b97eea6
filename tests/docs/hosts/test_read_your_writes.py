"""A client that has written reads its write, also where the replica has not replayed it yet."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http.cookies import SimpleCookie

import aiohttp
import pytest

from context_async_sqlalchemy import db_context, db_session
from examples.read_your_writes import aiohttp_app, sanic_app, starlette_app
from examples.read_your_writes.notes import add_note, list_notes
from examples.read_your_writes.positions import COOKIE, POSITION, ReadYourWrites
from tests.adapters.sanic.serving import start, stop
from tests.docs.hosts.pair import Pair, connections_to, execute
from tests.docs.hosts.service import serving
from tests.support.asgi_servers import under_uvicorn
from tests.support.connections import connect_to
from tests.support.waiting import until_async
from tools.local_postgres import PostgresServer

LONG = 8.0
"""Seconds that a read may wait for a replica that does get there."""

Serve = Callable[[ReadYourWrites], AbstractAsyncContextManager[str]]


@asynccontextmanager
async def on_aiohttp(databases: ReadYourWrites) -> AsyncGenerator[str]:
    async with serving(aiohttp_app.make_app(databases)) as url:
        yield url


@asynccontextmanager
async def on_sanic(databases: ReadYourWrites) -> AsyncGenerator[str]:
    app = sanic_app.make_app(databases)
    # Sanic rewrites its own methods at start, and cannot do so twice in one process.
    app.config.TOUCHUP = False
    listener = socket.create_server(("127.0.0.1", 0))
    server = await start(app, listener)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await stop(app, server, grace=1.0)
        app.unregister_app(app)


@asynccontextmanager
async def on_starlette(databases: ReadYourWrites) -> AsyncGenerator[str]:
    async with under_uvicorn(starlette_app.make_app(databases)) as port:
        yield f"http://127.0.0.1:{port}"


FRAMEWORKS: list[Serve] = [on_aiohttp, on_sanic, on_starlette]


class Browser:
    """A client that keeps the cookie, without its attributes.

    Args:
        url: of the service.
        session: whose connections are used.

    """

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self.cookie: str | None = None

    async def write(self, body: str) -> None:
        async with self._session.post(f"{self._url}/notes/{body}") as response:
            assert response.status == 201
            self.cookie = SimpleCookie(response.headers["Set-Cookie"])[COOKIE].value

    async def read(self) -> list[str]:
        headers = {} if self.cookie is None else {"Cookie": f"{COOKIE}={self.cookie}"}
        async with self._session.get(f"{self._url}/notes", headers=headers) as response:
            assert response.status == 200
            notes: list[str] = await response.json()
            return notes


@asynccontextmanager
async def browsing(serve: Serve, pair: Pair, within: float = 0.05) -> AsyncGenerator[tuple[Browser, Browser]]:
    """Serve the application to one who writes, and one who does not."""
    databases = ReadYourWrites(
        connect_to(pair.primary.url(), name="primary"), connect_to(pair.replica.url(), name="replica"), within=within
    )
    jar = aiohttp.DummyCookieJar()
    async with (
        serve(databases) as url,
        aiohttp.ClientSession(cookie_jar=jar) as session,
    ):
        yield Browser(url, session), Browser(url, session)
    await until_async(lambda: _nothing_is_left(pair), "the service has closed its connections")


async def _nothing_is_left(pair: Pair) -> bool:
    return await connections_to(pair.primary) + await connections_to(pair.replica) == 0


@pytest.fixture
async def pair(lasting_pair: Pair) -> AsyncGenerator[Pair]:
    """Give the test an empty table, on both, and a replica that replays nothing from now on."""
    await execute(lasting_pair.primary, "TRUNCATE notes")
    await until_async(lambda: _has_replayed_all(lasting_pair), "the replica has the empty table")
    await execute(lasting_pair.replica, "SELECT pg_wal_replay_pause()")
    await until_async(lambda: _is_paused(lasting_pair.replica), "the replay is paused")
    yield lasting_pair
    await execute(lasting_pair.replica, "SELECT pg_wal_replay_resume()")


async def _has_replayed_all(pair: Pair) -> bool:
    ((position,),) = await execute(pair.primary, "SELECT pg_current_wal_flush_lsn()::text")
    return bool((await execute(pair.replica, f"SELECT pg_last_wal_replay_lsn() >= '{position}'"))[0][0])


async def _is_paused(replica: PostgresServer) -> bool:
    return bool((await execute(replica, "SELECT pg_get_wal_replay_pause_state() = 'paused'"))[0][0])


@pytest.mark.parametrize("serve", FRAMEWORKS)
async def test_a_client_reads_its_write_though_the_replica_does_not_have_it(serve: Serve, pair: Pair) -> None:
    async with browsing(serve, pair) as (writer, other):
        await writer.write("mine")
        # What the writer would have been answered too.
        assert await other.read() == []
        assert await writer.read() == ["mine"]


@pytest.mark.parametrize("serve", FRAMEWORKS)
async def test_a_replica_that_gets_there_in_time_answers(serve: Serve, pair: Pair) -> None:
    async with browsing(serve, pair, within=LONG) as (writer, _other):
        await writer.write("mine")
        reading = asyncio.create_task(writer.read())
        waits = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_last_wal_replay_lsn%' AND pid <> pg_backend_pid()"

        async def is_waiting() -> bool:
            return bool(await execute(pair.replica, waits))

        await until_async(is_waiting, "the request asks the replica")
        await execute(pair.replica, "SELECT pg_wal_replay_resume()")
        # Sooner than the primary would be asked.
        async with asyncio.timeout(LONG / 2):
            assert await reading == ["mine"]


@pytest.mark.parametrize("cookie", ["", "nonsense", "-1", "1" * 30, "²"])
async def test_a_cookie_that_is_made_up_is_ignored(cookie: str, pair: Pair) -> None:
    async with browsing(on_aiohttp, pair) as (browser, _):
        browser.cookie = cookie
        assert await browser.read() == []


async def test_a_position_taken_before_the_commit_would_not_be_enough(pair: Pair) -> None:
    primary, replica = connect_to(pair.primary.url()), connect_to(pair.replica.url())
    databases = ReadYourWrites(primary, replica, within=0)
    await execute(pair.replica, "SELECT pg_wal_replay_resume()")
    async with db_context():
        await add_note(primary, "mine")
        too_early = str(await (await db_session(primary)).scalar(POSITION))
        await execute(pair.primary, "SELECT pg_switch_wal()")  # so that all of this is sent
        await until_async(lambda: _has_replayed_all(pair), "the replica has the INSERT")
        await execute(pair.replica, "SELECT pg_wal_replay_pause()")
        await until_async(lambda: _is_paused(pair.replica), "the replay is paused")
        enough = await databases.commit()
    for cookie, expected in ((too_early, []), (enough, ["mine"])):
        async with db_context():
            assert await list_notes(await databases.session(cookie)) == expected
    await primary.close()
    await replica.close()
