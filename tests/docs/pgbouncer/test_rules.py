"""The product's rules through PgBouncer, and what an early release is worth there."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, commit_db_session, db_session, setup_db
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.conformance.statements import run, write
from tests.docs.pgbouncer.bouncer import SERVER_CONNECTIONS, Bouncer
from tests.support.database import FAILING_COMMIT, Database
from tests.support.waiting import until, until_async

REQUESTS = 8


class _Payment:
    """A payment provider that answers when the test says so."""

    def __init__(self) -> None:
        self.in_flight = self.most = 0
        self.seconds = 0.0
        self.answers = asyncio.Event()

    async def charge(self) -> None:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await self.answers.wait()
        self.seconds += loop.time() - begun
        self.in_flight -= 1


@asynccontextmanager
async def _serving(
    handler: Callable[[web.Request], Awaitable[web.Response]], connection: DBConnect, **options: Any
) -> AsyncGenerator[aiohttp.ClientSession]:
    app = web.Application()
    app.router.add_get("/", handler)
    setup_db(app, [connection], **options)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            yield client
    finally:
        await runner.cleanup()


async def _status(client: aiohttp.ClientSession) -> int:
    async with client.get("/") as response:
        return response.status


async def test_the_commit_is_before_the_status_line(bounced: DBConnect, database: Database) -> None:
    async def handler(_request: web.Request) -> web.Response:
        await write(bounced, "written")
        return web.Response(status=201)

    async with _serving(handler, bounced) as client:
        assert await _status(client) == 201
        assert await database.notes() == ["written"]


async def test_a_commit_that_fails_is_a_500(bounced: DBConnect, database: Database) -> None:
    async def handler(_request: web.Request) -> web.Response:
        await run(bounced, FAILING_COMMIT)
        return web.Response(status=201)

    async with _serving(handler, bounced) as client:
        assert await _status(client) == 500
    assert await database.notes("unique_notes") == []


async def test_a_client_that_hangs_up_leaves_nothing_in_a_transaction(
    bounced: DBConnect, database: Database, bouncer: Bouncer
) -> None:
    async def handler(_request: web.Request) -> web.Response:
        await write(bounced, "not to be seen")
        await run(bounced, "SELECT pg_sleep(30)")
        return web.Response()

    async with _serving(handler, bounced) as client:
        requests = [asyncio.create_task(_status(client)) for _ in range(SERVER_CONNECTIONS)]
        await database.wait_for_backends("query LIKE '%pg_sleep%' AND state = 'active'", SERVER_CONNECTIONS)
        for request in requests:
            request.cancel()
        await asyncio.wait(requests)
        await database.wait_for_backends("state <> 'idle'", 0)

        async def is_free() -> bool:
            pool = await bouncer.pool()
            return pool["sv_active"] == pool["cl_waiting"] == 0

        await until_async(is_free, "PgBouncer has its connections back")
    assert await database.notes() == []


@pytest.mark.parametrize("is_released", [True, False], ids=["early release", "twin without"])
async def test_an_early_release_lets_others_have_the_servers_connection(
    bounced: DBConnect, bouncer: Bouncer, is_released: bool
) -> None:
    """Eight orders on two connections wait for their payments at once; without it, two do and six wait for those."""
    payment, registry = _Payment(), CollectorRegistry()

    async def handler(_request: web.Request) -> web.Response:
        await write(bounced, "ordered")
        if is_released:
            await commit_db_session(bounced)
        await payment.charge()
        session = await db_session(bounced)
        await session.execute(text("UPDATE notes SET body = 'paid'"))
        return web.Response()

    at_once = REQUESTS if is_released else SERVER_CONNECTIONS
    async with _serving(handler, bounced, observers=[PrometheusObserver(registry)]) as client:
        requests = [asyncio.create_task(_status(client)) for _ in range(REQUESTS)]
        await until(lambda: payment.in_flight == at_once, f"{at_once} payments are in flight")

        async def others_wait() -> bool:
            pool = await bouncer.pool()
            return (pool["cl_waiting"], pool["sv_active"]) == (REQUESTS - at_once, 0 if is_released else at_once)

        await until_async(others_wait, f"{REQUESTS - at_once} clients wait in PgBouncer")
        assert payment.most == at_once
        payment.answers.set()
        assert await asyncio.gather(*requests) == [200] * REQUESTS
    labels = {"db_client_connection_pool_name": "bounced", "route": "GET /"}
    held_idle = registry.get_sample_value("db_session_held_idle_seconds_sum", labels)
    releases = registry.get_sample_value("db_session_early_releases_total", labels | {"by": "commit"})
    assert held_idle is not None
    assert (held_idle < payment.seconds / 2) if is_released else (held_idle >= payment.seconds * 0.99)
    assert releases == (REQUESTS if is_released else None)
