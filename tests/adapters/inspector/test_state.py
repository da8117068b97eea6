"""What the inspector shows of open sessions."""

import asyncio
import gc
import json
from time import perf_counter_ns

import pytest
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import text

from context_async_sqlalchemy import (
    DBConnect,
    commit_db_session,
    db_context,
    db_session,
    rollback_db_session,
    run_in_new_ctx,
)
from context_async_sqlalchemy.adapter_kit import Context, Lifecycle, finish, leave_context, make_current
from context_async_sqlalchemy.observer import ContextRecord
from context_async_sqlalchemy_inspector import Inspector
from tests.adapters.inspector.inspecting import inspecting, look
from tests.adapters.inspector.looking import TOKEN
from tests.conformance.statements import run
from tests.support.database import Database
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("fresh")


async def test_the_states_of_a_session(database: Database) -> None:
    async with inspecting(database) as (inspector, connection):
        async with db_context():
            await run(connection, "SELECT 1")
            assert look(inspector)["sessions"]["by_state"] == {"held idle": 1}
            await commit_db_session(connection)
            worker = look(inspector)
            assert worker["sessions"]["by_state"] == {"open": 1}
            (session,) = worker["sessions"]["shown"]
            assert (session["transactions"], session["statements"], session["early_releases"]) == (1, 1, 1)
            assert (session["connections"], session["kind"]) == ([], "job")
            sleeping = asyncio.create_task(run(connection, "SELECT pg_sleep(60)"))
            await until(lambda: look(inspector)["sessions"]["by_state"] == {"querying": 1}, "it queries")
            (session,) = look(inspector)["sessions"]["shown"]
            assert session["connections"][0]["pool"] == "main"
            sleeping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sleeping
            await rollback_db_session(connection)
        assert look(inspector)["sessions"] == {"total": 0, "by_state": {}, "shown": []}


async def test_a_session_that_ends_is_finishing(database: Database) -> None:
    async with inspecting(database) as (inspector, connection):
        seen: list[str] = []

        async def before_commit(_session: object) -> None:
            seen.extend(look(inspector)["sessions"]["by_state"])

        lifecycle = Lifecycle(before_commit=before_commit)
        context = Context(lifecycle)
        token = make_current(context)
        await run(connection, "SELECT 1")
        await finish(context, commit=True)
        leave_context(token)
        assert seen == ["finishing"]


async def test_a_connection_outside_of_any_context_is_shown(database: Database) -> None:
    async with inspecting(database) as (inspector, connection):
        async with connection.ensure_engine().connect():
            worker = look(inspector)
            (session,) = worker["sessions"]["shown"]
            assert (session["route"], session["state"]) == ("none", "held idle")
            assert worker["pools"][0]["holders"] == [session["id"]]
            assert look(inspector)["sessions"]["shown"][0]["id"] == session["id"]
        assert look(inspector)["sessions"]["total"] == 0


async def test_ten_thousand_open_sessions_give_a_bounded_answer(database: Database) -> None:
    async with inspecting(database) as (inspector, connection):
        contexts = [ContextRecord(f"GET /{number % 7}", perf_counter_ns()) for number in range(10_000)]
        for context in contexts:
            inspector.context_began(context)
        await run_in_new_ctx(run, connection, "SELECT 1")
        body = json.dumps(inspector.worker())
        sessions = json.loads(body)["sessions"]
        assert sessions["total"] == sessions["by_state"]["connecting"] == 10_000
        assert len(sessions["shown"]) == 200
        assert len(body) < 200_000
        for context in contexts:
            context.ended_at = perf_counter_ns()
            inspector.context_ended(context)
        assert look(inspector)["sessions"]["total"] == 0


async def test_a_context_that_is_dropped_without_an_end_is_not_kept(database: Database) -> None:
    async with inspecting(database) as (inspector, _connection):
        contexts = [ContextRecord("GET /", perf_counter_ns())]
        inspector.context_began(contexts[0])
        assert look(inspector)["sessions"]["total"] == 1
        contexts.clear()
        gc.collect()
        assert look(inspector)["sessions"]["total"] == 0


async def test_a_hostile_route_is_text_and_no_statement_is_shown(database: Database) -> None:
    hostile = "GET /<script>alert(1)</script>\"'\\ud800"
    async with inspecting(database) as (inspector, connection):
        context = ContextRecord(hostile, perf_counter_ns())
        inspector.context_began(context)
        async with db_context():
            await (await db_session(connection)).execute(text("SELECT 'marked-secret'"))
            body = json.dumps(inspector.worker()).encode()
            assert b"marked-secret" not in body
            assert {each["route"] for each in json.loads(body)["sessions"]["shown"]} == {hostile, "none"}


@pytest.mark.parametrize("is_psycopg", [False, True], ids=["asyncpg", "psycopg"])
async def test_a_blocked_session_is_shown_with_its_blocker(database: Database, is_psycopg: bool) -> None:
    url = database.url.replace("+asyncpg", "+psycopg") if is_psycopg else database.url
    inspector = Inspector(token=TOKEN, blockers=True)
    connection = DBConnect.from_url(url, name="main", pool_size=2, max_overflow=0)
    lifecycle = Lifecycle([connection], observers=[inspector])
    async with db_context():
        await run(connection, "SELECT pg_advisory_xact_lock(77)")
        blocked = asyncio.create_task(run_in_new_ctx(run, connection, "SELECT pg_advisory_xact_lock(77)"))
        await until(lambda: bool(look(inspector)["blocked"]), "it is blocked")
        worker = look(inspector)
        (shown,) = worker["blocked"]
        by_id = {each["id"]: each for each in worker["sessions"]["shown"]}
        waiting = by_id.pop(shown["session"])
        (holding,) = by_id.values()
        assert shown["backend_pid"] == waiting["connections"][0]["backend_pid"]
        assert shown["blocked_by"] == [holding["connections"][0]["backend_pid"]]
        assert worker["pools"][0]["used"] == 2
    await blocked
    await lifecycle.shut_down()


async def test_the_trace_of_a_recorded_span_is_shown(database: Database) -> None:
    tracer = TracerProvider().get_tracer("test")
    async with inspecting(database) as (inspector, connection):
        with tracer.start_as_current_span("GET /") as span:
            async with db_context():
                await run(connection, "SELECT 1")
                (session,) = look(inspector)["sessions"]["shown"]
        assert session["trace_id"] == format(span.get_span_context().trace_id, "032x")
        async with db_context():
            await run(connection, "SELECT 1")
            (session,) = look(inspector)["sessions"]["shown"]
        assert session["trace_id"] is None
        async with connection.ensure_engine().connect():
            with tracer.start_as_current_span("GET /_db/state.json"):
                (session,) = look(inspector)["sessions"]["shown"]
        assert session["trace_id"] is None, "the trace of the visitor is not that of the session"
