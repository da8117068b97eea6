"""Spans beside those of OpenTelemetry's own instrumentation of SQLAlchemy, which makes one for each statement."""

from collections.abc import Generator

import aiohttp
import pytest
from opentelemetry.instrumentation.sqlalchemy import (  # pyright: ignore[reportMissingTypeStubs] - it has none
    SQLAlchemyInstrumentor,
)

from context_async_sqlalchemy import db_context
from context_async_sqlalchemy.adapter_kit import Lifecycle
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver
from tests.conformance.statements import run
from tests.support.connections import connect_to
from tests.support.database import Database

from .served import Serve, on_aiohttp, on_sanic
from .traces import Traces, is_child

SERVER = "GET /work"
SESSION = "db.session main"


@pytest.fixture
def instrumented(traces: Traces) -> Generator[None]:
    """Instrument SQLAlchemy as an application does, after the import of the library."""
    instrumentor = SQLAlchemyInstrumentor()
    # It refuses SQLAlchemy 2.1, with which it works.
    instrumentor.instrument(tracer_provider=traces.provider, skip_dep_check=True)
    yield
    instrumentor.uninstrument()


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("serve", [on_aiohttp, on_sanic], ids=["aiohttp", "sanic"])
async def test_the_session_is_below_the_request_and_its_statements_are_traced(
    serve: Serve, traces: Traces, database: Database
) -> None:
    connection = connect_to(database.url)

    async def work() -> int:
        await run(connection, "SELECT 1")
        return 200

    async with serve(traces, connection, work) as url, aiohttp.ClientSession() as client:
        for _ in range(2):
            async with client.get(url) as reply:
                assert reply.status == 200
    await connection.close()
    servers = traces.all(SERVER)
    for session, server in zip(traces.all(SESSION), servers, strict=True):
        assert is_child(session, server)
    assert traces.names().count("SELECT") == 2
    assert "connect" in traces.names(), "the instrumentation has changed, and this test with it"


@pytest.mark.usefixtures("instrumented")
async def test_a_job_is_a_trace_of_its_own(traces: Traces, database: Database) -> None:
    connection = connect_to(database.url)
    lifecycle = Lifecycle([connection], observers=[OpenTelemetryObserver(traces.provider)])
    async with db_context():
        await run(connection, "SELECT 1")
    await lifecycle.shut_down()
    assert traces.one(SESSION).parent is None


@pytest.mark.usefixtures("instrumented")
async def test_an_engine_that_is_had_before_the_first_use_can_be_instrumented(
    traces: Traces, database: Database
) -> None:
    instrumentor = SQLAlchemyInstrumentor()
    instrumentor.uninstrument()
    connection = connect_to(database.url)
    engine = connection.ensure_engine().sync_engine
    instrumentor.instrument(engine=engine, tracer_provider=traces.provider, skip_dep_check=True)
    async with db_context():
        await run(connection, "SELECT 1")
    await connection.close()
    assert "SELECT" in traces.names()
