"""A job without a span around it: all contexts within it are one trace."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from context_async_sqlalchemy import DBConnect, db_context, run_in_new_ctx, setup_db
from context_async_sqlalchemy.adapter_kit import Lifecycle
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver
from tests.conformance.statements import run
from tests.support.connections import connect_to
from tests.support.database import Database

from .traces import Traces, is_child

SESSION = "db.session main"


@pytest.fixture
async def traced(database: Database, observer: OpenTelemetryObserver) -> AsyncGenerator[DBConnect]:
    connection = connect_to(database.url, pool_size=3)
    lifecycle = Lifecycle([connection], observers=[observer])
    yield connection
    await lifecycle.shut_down()


def _trace_ids(traces: Traces) -> list[int]:
    return [span.context.trace_id for span in traces.all(SESSION) if span.context is not None]


async def test_contexts_within_a_job_are_below_its_first_session(traces: Traces, traced: DBConnect) -> None:
    async def part() -> None:
        await run(traced, "SELECT 2")
        await run_in_new_ctx(run, traced, "SELECT 3")

    async with db_context():
        await run(traced, "SELECT 1")
        await run_in_new_ctx(part)
        await run_in_new_ctx(part)
    *within, job = traces.all(SESSION)
    assert job.parent is None
    assert len(within) == 4
    assert all(is_child(session, job) for session in within)


async def test_a_job_that_uses_no_session_itself_is_one_trace_too(traces: Traces, traced: DBConnect) -> None:
    async with db_context():
        await asyncio.gather(*(run_in_new_ctx(run, traced, "SELECT 1") for _ in range(3)))
        await run(traced, "SELECT 2")
    assert len(traces.all(SESSION)) == 4
    assert len(set(_trace_ids(traces))) == 1


async def test_two_jobs_are_two_traces(traces: Traces, traced: DBConnect) -> None:
    for _ in range(2):
        async with db_context():
            await run_in_new_ctx(run, traced, "SELECT 1")
    assert len(set(_trace_ids(traces))) == 2


async def test_each_message_of_a_websocket_is_a_trace(
    traces: Traces, database: Database, observer: OpenTelemetryObserver
) -> None:
    connection = connect_to(database.url)

    async def handle(request: web.Request) -> web.WebSocketResponse:
        await run(connection, "SELECT 1")
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for _message in websocket:
            async with db_context():
                await run(connection, "SELECT 2")
                await run_in_new_ctx(run, connection, "SELECT 3")
            await websocket.send_str("done")
        return websocket

    app = web.Application()
    app.router.add_get("/", handle)
    setup_db(app, [connection], observers=[observer])
    client: TestClient[web.Request, web.Application]
    async with TestClient(TestServer(app)) as client:
        websocket = await client.ws_connect("/")
        for _ in range(2):
            await websocket.send_str("message")
            await websocket.receive()
        await websocket.close()
    within, first, *_ = traces.all(SESSION)
    assert is_child(within, first)
    assert sorted(Counter(_trace_ids(traces)).values()) == [1, 2, 2]


async def test_a_job_that_the_sampler_refuses_is_refused_with_all_its_contexts(database: Database) -> None:
    traces = Traces(ParentBased(TraceIdRatioBased(0.0)))
    connection = connect_to(database.url)
    lifecycle = Lifecycle([connection], observers=[OpenTelemetryObserver(traces.provider)])
    async with db_context():
        await run(connection, "SELECT 1")
        await run_in_new_ctx(run, connection, "SELECT 1")
    assert traces.names() == []
    await lifecycle.shut_down()
