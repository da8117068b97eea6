"""What a real application's /metrics says after real requests."""

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, commit_db_session, db_session, setup_db
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.conformance.statements import write
from tests.support.connections import connect_to
from tests.support.database import Database
from tests.support.waiting import until_async

POOL = 'db_client_connection_pool_name="main"'
USED = f'db_client_connection_count{{{POOL},db_client_connection_state="used"}}'


async def _samples(client: TestClient[web.Request, web.Application]) -> dict[str, float]:
    async with client.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {series: float(value) for series, _, value in samples}


async def test_a_request_is_measured_under_its_routes_template(
    connection: DBConnect, observer: PrometheusObserver, aiohttp_client: AiohttpClient
) -> None:
    async def handler(_request: web.Request) -> web.Response:
        await write(connection, "first")
        await commit_db_session(connection)
        await write(connection, "second")
        raise web.HTTPConflict

    app = web.Application()
    app.router.add_post("/orders/{id}", handler)
    setup_db(app, [connection], observers=[observer])
    client = await aiohttp_client(app)
    for order in range(2):
        assert (await client.post(f"/orders/{order}")).status == 409
    samples = await _samples(client)
    labels = f'{POOL},route="POST /orders/{{id}}"'
    assert samples[f"db_session_statements_total{{{labels}}}"] == 4
    assert samples[f"db_client_connection_wait_time_seconds_count{{{labels}}}"] == 4
    assert samples[f"db_client_connection_use_time_seconds_count{{{labels}}}"] == 4
    for outcome in ("commit", "rollback"):
        by_outcome = f'{POOL},outcome="{outcome}",route="POST /orders/{{id}}"'
        assert samples[f"db_session_transaction_duration_seconds_count{{{by_outcome}}}"] == 2
    assert samples[f'db_session_early_releases_total{{by="commit",{labels}}}'] == 2
    assert samples[f"db_session_early_release_saved_seconds_count{{{labels}}}"] == 2
    assert samples[f"db_client_connection_create_time_seconds_count{{{POOL}}}"] == 1
    assert samples['db_session_contexts_total{outcome="rollback"}'] == 2
    assert samples[f'db_client_connection_count{{{POOL},db_client_connection_state="idle"}}'] == 1


async def test_an_exhausted_pool_is_seen_while_it_is_and_after(
    database: Database, observer: PrometheusObserver, aiohttp_client: AiohttpClient
) -> None:
    connection = connect_to(database.url, pool_size=1)
    release = asyncio.Event()

    async def hold(_request: web.Request) -> web.Response:
        await write(connection, "held")
        await release.wait()
        return web.Response()

    async def wait(_request: web.Request) -> web.Response:
        session = await db_session(connection)
        await session.execute(text("SELECT 1"))
        return web.Response()

    app = web.Application()
    app.router.add_get("/hold", hold)
    app.router.add_get("/wait", wait)
    setup_db(app, [connection], observers=[observer])
    client = await aiohttp_client(app)
    requests = [asyncio.create_task(client.get("/hold")), asyncio.create_task(client.get("/wait"))]

    async def is_exhausted() -> bool:
        samples = await _samples(client)
        return samples.get(USED) == samples.get(f"db_client_connection_pending_requests{{{POOL}}}") == 1

    # The scrape needs none of the connections that others wait for.
    await until_async(is_exhausted, "a request waits for a connection")
    samples = await _samples(client)
    assert samples[f"db_client_connection_max{{{POOL}}}"] == 1
    release.set()
    assert [(await request).status for request in requests] == [200, 200]
    samples = await _samples(client)
    assert samples[f"db_client_connection_pending_requests{{{POOL}}}"] == 0
    assert samples[USED] == 0
