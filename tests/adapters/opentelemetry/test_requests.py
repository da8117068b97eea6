"""The spans of real requests, on each framework, over sockets and with a real database."""

import asyncio
import subprocess
import sys

import aiohttp
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import DEFAULT_OFF
from opentelemetry.trace import StatusCode

from context_async_sqlalchemy import DBConnect, commit_db_session, run_in_new_ctx
from context_async_sqlalchemy._plugins import installed_observers
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver
from tests.conformance.statements import run, write
from tests.support.connections import connect_to, in_use
from tests.support.database import FAILING_COMMIT, Database
from tests.support.waiting import until

from .served import Serve, on_aiohttp, on_sanic
from .traces import Traces, attributes, events, is_child

SERVER = "GET /work"


@pytest.fixture(params=[on_aiohttp, on_sanic], ids=["aiohttp", "sanic"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Run the case on each framework."""
    serve: Serve = request.param
    return serve


async def _get(url: str) -> int:
    async with aiohttp.ClientSession() as client, client.get(url) as reply:
        return reply.status


async def test_a_request_with_an_early_release(
    serve: Serve, traces: Traces, connection: DBConnect, database: Database
) -> None:
    async def work() -> int:
        await write(connection, "order")
        await commit_db_session(connection)
        await asyncio.sleep(0.05)
        await write(connection, "receipt")
        await write(connection, "log")
        return 201

    async with serve(traces, connection, work) as url:
        assert await _get(url) == 201
    assert await database.notes() == ["log", "order", "receipt"]
    server, session = traces.one(SERVER), traces.one("db.session main")
    assert is_child(session, server)
    first, second = traces.all("db.transaction main")
    acquire = traces.one("db.connection.acquire main")
    assert all(is_child(span, session) for span in (acquire, first, second))
    assert attributes(acquire)["db.session.acquire_path"] == "new"
    assert [attributes(span)["db.transaction.statements"] for span in (first, second)] == [1, 2]
    assert [attributes(span)["db.transaction.outcome"] for span in (first, second)] == ["commit", "commit"]
    ((name, at, released),) = events(session)
    assert (name, released["db.session.released_by"]) == ("released_early", "commit")
    starts = [server.start_time, session.start_time, acquire.start_time, acquire.end_time, first.start_time]
    after = [first.end_time, at, second.start_time, second.end_time, session.end_time]
    instants = [instant or 0 for instant in (*starts, *after)]
    assert instants == sorted(instants)
    until_the_next = ((second.start_time or 0) - at) / 1e9
    saved = released["db.session.saved_seconds"]
    assert isinstance(saved, float)
    assert 0.049 < saved < until_the_next + 0.001
    said = attributes(session)
    assert said["db.session.outcome"] == "commit"
    assert said["db.namespace"] == database.url.rpartition("/")[2].partition("?")[0]
    assert [said[f"db.session.{what}"] for what in ("transactions", "statements")] == [2, 3]


async def test_a_commit_that_fails(serve: Serve, traces: Traces, connection: DBConnect) -> None:
    async def work() -> int:
        await run(connection, FAILING_COMMIT)
        return 200

    async with serve(traces, connection, work) as url:
        assert await _get(url) == 500
    session, transaction = traces.one("db.session main"), traces.one("db.transaction main")
    for span in (session, transaction):
        assert span.status.status_code is StatusCode.ERROR
        assert attributes(span)["error.type"] == "23505"
    assert attributes(session)["db.session.outcome"] == "failed"
    assert attributes(transaction)["db.transaction.outcome"] == "rollback"
    assert [name for name, _, _ in events(transaction)] == ["exception"]
    assert [name for name, _, _ in events(session)] == []


async def test_a_statement_that_fails(serve: Serve, traces: Traces, connection: DBConnect) -> None:
    async def work() -> int:
        await run(connection, "SELECT secret FROM nowhere")
        return 200

    async with serve(traces, connection, work) as url:
        assert await _get(url) == 500
    transaction = traces.one("db.transaction main")
    assert attributes(transaction)["error.type"] == "42P01"
    assert attributes(transaction)["db.transaction.outcome"] == "rollback"
    assert attributes(traces.one("db.session main"))["db.session.outcome"] == "rollback"
    own = [traces.one("db.session main"), transaction, *traces.all("db.connection.acquire main")]
    assert "secret" not in "".join(span.to_json() for span in own)


async def test_a_wait_that_times_out(serve: Serve, traces: Traces, database: Database) -> None:
    connection = DBConnect.from_url(database.url, name="main", pool_size=1, max_overflow=0, pool_timeout=0.1)
    others_are_done = asyncio.Event()

    async def work() -> int:
        await write(connection, "note")
        await others_are_done.wait()
        return 200

    async with serve(traces, connection, work) as url:
        holder = asyncio.create_task(_get(url))
        await until(lambda: in_use(connection) == 1, "the first request holds the connection")
        assert await _get(url) == 500
        others_are_done.set()
        assert await holder == 200
    failed, made = traces.all("db.connection.acquire main")
    assert attributes(failed)["error.type"] == "timeout"
    assert failed.status.status_code is StatusCode.ERROR
    limit, _, who_holds_it = (failed.status.description or "").partition("\n")
    assert "QueuePool limit" in limit
    assert "GET /work" in who_holds_it
    assert 0.09 < _seconds(failed) < 30
    assert attributes(made)["db.session.acquire_path"] == "new"
    session = traces.all("db.session main")[0]
    assert is_child(failed, session)
    assert attributes(session)["db.session.transactions"] == 0


async def test_a_request_that_waits_for_another_one(serve: Serve, traces: Traces, database: Database) -> None:
    connection = connect_to(database.url, pool_size=1)
    go_on = asyncio.Event()

    async def work() -> int:
        await write(connection, "note")
        await go_on.wait()
        return 200

    async with serve(traces, connection, work) as url:
        requests = [asyncio.create_task(_get(url))]
        await until(lambda: in_use(connection) == 1, "the first request holds the connection")
        requests.append(asyncio.create_task(_get(url)))
        await asyncio.sleep(0.1)
        go_on.set()
        assert await asyncio.gather(*requests) == [200, 200]
    made, queued = traces.all("db.connection.acquire main")
    assert [attributes(span)["db.session.acquire_path"] for span in (made, queued)] == ["new", "queued"]
    assert 0.01 < _seconds(queued) < 30
    first, second = traces.all("db.transaction main")
    assert (queued.end_time or 0) >= (first.end_time or 0)
    # Each is told apart.
    servers = traces.all(SERVER)
    sessions = traces.all("db.session main")
    assert sorted(is_child(session, server) for session in sessions for server in servers) == [False] * 2 + [True] * 2
    assert is_child(first, sessions[0])
    assert is_child(second, sessions[1])


async def test_a_request_that_is_not_sampled_leaves_nothing(serve: Serve, connection: DBConnect) -> None:
    traces = Traces(DEFAULT_OFF)

    async def work() -> int:
        await write(connection, "note")
        return 200

    async with serve(traces, connection, work) as url:
        assert await _get(url) == 200
    assert traces.names() == []


async def test_a_request_that_does_not_touch_the_database_has_no_session(
    serve: Serve, traces: Traces, connection: DBConnect
) -> None:
    async def work() -> int:
        return 200

    async with serve(traces, connection, work) as url:
        assert await _get(url) == 200
    assert traces.names() == [SERVER]


async def test_a_job_beside_the_requests_is_a_trace_of_its_own(
    serve: Serve, traces: Traces, connection: DBConnect
) -> None:
    async def work() -> int:
        return 200

    async with serve(traces, connection, work):
        await run_in_new_ctx(write, connection, "note")
    assert traces.one("db.session main").parent is None
    assert is_child(traces.one("db.transaction main"), traces.one("db.session main"))


async def test_contexts_of_their_own_within_a_request_are_below_it(
    serve: Serve, traces: Traces, connection: DBConnect
) -> None:
    async def work() -> int:
        await asyncio.gather(*(run_in_new_ctx(write, connection, body) for body in ("one", "other")))
        return 200

    async with serve(traces, connection, work) as url:
        assert await _get(url) == 200
    sessions = traces.all("db.session main")
    assert len(sessions) == 2
    assert all(is_child(session, traces.one(SERVER)) for session in sessions)


async def test_a_context_that_ends_with_a_cancelled_request_is_traced(traces: Traces, connection: DBConnect) -> None:
    """On aiohttp's and Sanic's other ways out a context is ended by a task of its own."""
    holding = asyncio.Event()

    async def work() -> int:
        await write(connection, "note")
        holding.set()
        await asyncio.sleep(60)
        return 200

    async with on_sanic(traces, connection, work) as url:
        client = asyncio.create_task(_get(url))
        await holding.wait()
        client.cancel()
        await until(lambda: bool(traces.all("db.session main")), "the context has ended")
    session = traces.one("db.session main")
    assert attributes(session)["db.session.outcome"] == "rollback"
    assert session.parent is not None


def test_applications_of_one_process_make_one_span_a_session() -> None:
    program = """
import asyncio
import subprocess
import sys
from aiohttp import web
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text
from context_async_sqlalchemy import DBConnect, db_context, db_session, setup_db
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver, default_observer

async def main():
    spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    connection = DBConnect.from_url("sqlite+aiosqlite://", name="main")
    setup_db(web.Application(), [connection], observers=[default_observer()])
    for _ in range(200):
        setup_db(web.Application(), [connection])
    async with db_context():
        await (await db_session(connection)).execute(text("SELECT 1"))
    print([span.name for span in spans.get_finished_spans()].count("db.session main"))
    await connection.close()

asyncio.run(main())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert result.stdout.strip() == "1"


def test_where_it_is_installed_it_observes_by_default() -> None:
    assert [type(observer) for observer in installed_observers()].count(OpenTelemetryObserver) == 1


def _seconds(span: ReadableSpan) -> float:
    return ((span.end_time or 0) - (span.start_time or 0)) / 1e9
