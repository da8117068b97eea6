"""What the inspector shows of sessions, and that its numbers add up."""

import asyncio
import gc
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import perf_counter_ns
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from context_async_sqlalchemy import (
    DBConnect,
    PoolOverloadedError,
    commit_db_session,
    db_context,
    db_session,
    rollback_db_session,
    run_in_new_ctx,
    set_rollback,
)
from context_async_sqlalchemy.adapter_kit import Context, Lifecycle, finish, leave_context, make_current
from context_async_sqlalchemy.observer import Checkout, ContextRecord, Transaction
from context_async_sqlalchemy.retry import Retry
from context_async_sqlalchemy_inspector import Inspector
from context_async_sqlalchemy_inspector.finished import parts_of
from context_async_sqlalchemy_inspector.session import OpenSession
from tests.adapters.inspector.looking import TOKEN
from tests.adapters.prometheus.records import FakePool
from tests.conformance.statements import run
from tests.support.database import CONFLICT, Database
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each look be one of its own."""
    monkeypatch.setattr("context_async_sqlalchemy_inspector.inspector._FRESH", 0.0)


@asynccontextmanager
async def _inspecting(
    database: Database,
    *,
    pool_size: int = 2,
    slow: float = 1000,
    keep: int = 100,
    **options: Any,
) -> AsyncGenerator[tuple[Inspector, DBConnect]]:
    inspector = Inspector(token=TOKEN, slow=slow, keep=keep)
    connection = DBConnect.from_url(database.url, name="main", pool_size=pool_size, max_overflow=0, **options)
    lifecycle = Lifecycle([connection], observers=[inspector])
    try:
        yield inspector, connection
    finally:
        await lifecycle.shut_down()


def _look(inspector: Inspector) -> Any:
    return json.loads(json.dumps(inspector.worker()))


async def test_the_states_of_a_session(database: Database) -> None:
    async with _inspecting(database) as (inspector, connection):
        async with db_context():
            await run(connection, "SELECT 1")
            assert _look(inspector)["sessions"]["by_state"] == {"held idle": 1}
            await commit_db_session(connection)
            worker = _look(inspector)
            assert worker["sessions"]["by_state"] == {"open": 1}
            (session,) = worker["sessions"]["shown"]
            assert (session["transactions"], session["statements"], session["early_releases"]) == (1, 1, 1)
            assert (session["connections"], session["kind"]) == ([], "job")
            sleeping = asyncio.create_task(run(connection, "SELECT pg_sleep(60)"))
            await until(lambda: _look(inspector)["sessions"]["by_state"] == {"querying": 1}, "it queries")
            (session,) = _look(inspector)["sessions"]["shown"]
            assert session["connections"][0]["pool"] == "main"
            sleeping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sleeping
            await rollback_db_session(connection)
        assert _look(inspector)["sessions"] == {"total": 0, "by_state": {}, "shown": []}


async def test_a_session_that_ends_is_finishing(database: Database) -> None:
    async with _inspecting(database) as (inspector, connection):
        seen: list[str] = []

        async def before_commit(_session: object) -> None:
            seen.extend(_look(inspector)["sessions"]["by_state"])

        lifecycle = Lifecycle(before_commit=before_commit)
        context = Context(lifecycle)
        token = make_current(context)
        await run(connection, "SELECT 1")
        await finish(context, commit=True)
        leave_context(token)
        assert seen == ["finishing"]


async def test_a_connection_outside_of_any_context_is_shown(database: Database) -> None:
    async with _inspecting(database) as (inspector, connection):
        async with connection.ensure_engine().connect():
            worker = _look(inspector)
            (session,) = worker["sessions"]["shown"]
            assert (session["route"], session["state"]) == ("none", "held idle")
            assert worker["pools"][0]["holders"] == [session["id"]]
            assert _look(inspector)["sessions"]["shown"][0]["id"] == session["id"]
        assert _look(inspector)["sessions"]["total"] == 0


async def test_finished_sessions_are_kept_with_their_parts(database: Database) -> None:
    async with _inspecting(database, slow=1000) as (inspector, connection):
        await run_in_new_ctx(run, connection, "SELECT 1")

        async def rolled_back() -> None:
            await run(connection, "SELECT 1")
            await commit_db_session(connection)
            await run(connection, "SELECT 2")
            set_rollback()

        await run_in_new_ctx(rolled_back)
        with pytest.raises(Exception, match="conflict"):
            await run_in_new_ctx(run, connection, CONFLICT, retry=Retry(attempts=2, base_delay=0))
        finished = _look(inspector)["finished"]
        assert finished["kept"] == len(finished["shown"])
        last = finished["shown"][-1]
        assert (last["outcome"], last["reasons"], last["transactions"]) == ("rolled_back", ["rolled back"], 2)
        kinds = [part["kind"] for part in last["parts"]]
        assert kinds.count("wait") == kinds.count("hold") == kinds.count("transaction") == 2
        assert kinds.count("early release") == 1
        _check_parts(last["parts"], last["duration"])
        assert any("retried" in each["reasons"] for each in finished["shown"])
        assert "SELECT" not in json.dumps(finished)


async def test_a_wait_that_failed_is_kept(database: Database) -> None:
    async with _inspecting(database, pool_size=1, max_wait=0.01) as (inspector, connection):
        async with db_context():
            await run(connection, "SELECT 1")

            async def shed() -> None:
                await run(connection, "SELECT 1")

            with pytest.raises(PoolOverloadedError):
                await run_in_new_ctx(shed)
        (entry,) = _look(inspector)["finished"]["shown"]
        assert "failed" in entry["reasons"]
        assert [part["kind"] for part in entry["parts"]] == ["wait"]
        (pool,) = _look(inspector)["pools"]
        assert (pool["max_wait"], pool["max_waiting"]) == ("0.01", None)


async def test_the_ring_is_bounded_and_rollbacks_push_nothing_else_out(database: Database) -> None:
    async def rolled_back(connection: DBConnect) -> None:
        await run(connection, "SELECT 1")
        set_rollback()

    async with _inspecting(database, keep=9) as (inspector, connection):
        with pytest.raises(Exception, match="conflict"):
            await run_in_new_ctx(run, connection, CONFLICT, retry=Retry(attempts=2, base_delay=0))
        before = _look(inspector)["finished"]["kept"]
        for _ in range(20):
            await run_in_new_ctx(rolled_back, connection)
        finished = _look(inspector)["finished"]
        assert finished["kept"] == before + 2
        assert any("retried" in each["reasons"] for each in finished["shown"])
        ended = [each["ended_at"] for each in finished["shown"]]
        assert ended == sorted(ended, reverse=True)


@pytest.mark.parametrize("keep", [1, 2])
async def test_a_ring_of_one_keeps_what_was_not_only_rolled_back(database: Database, keep: int) -> None:
    async with _inspecting(database, slow=1e-9, keep=keep) as (inspector, connection):
        await run_in_new_ctx(run, connection, "SELECT 1")
        (entry,) = _look(inspector)["finished"]["shown"]
        assert entry["reasons"] == ["slow"]
    async with _inspecting(database, keep=keep) as (inspector, connection):
        with pytest.raises(Exception, match="conflict"):
            await run_in_new_ctx(run, connection, CONFLICT, retry=Retry(attempts=2, base_delay=0))
        assert any("retried" in each["reasons"] for each in _look(inspector)["finished"]["shown"])


async def test_pools_of_one_name_are_told_apart(database: Database) -> None:
    inspector = Inspector(token=TOKEN)
    connection = DBConnect(
        engine_creator=lambda _host: create_async_engine(database.url, pool_size=1, max_overflow=0),
        session_maker_creator=async_sessionmaker,
        host="old",
        name="main",
    )
    lifecycle = Lifecycle([connection], observers=[inspector])
    try:
        async with db_context():
            await run(connection, "SELECT 1")
            await connection.change_host("new")
            await run_in_new_ctx(run, connection, "SELECT 1")
            # The sums begin with the first look, so the new pool has held nothing since.
            _look(inspector)
            worker = _look(inspector)
            old, new = worker["pools"]
            assert old["name"] == new["name"] == "main"
            assert old["key"] != new["key"]
            assert (old["used"], new["used"]) == (1, 0)
            assert (old["advice"]["average"], new["advice"]["average"]) == (1, 0)
            (session,) = worker["sessions"]["shown"]
            assert [each["pool_key"] for each in session["connections"]] == [old["key"]]
    finally:
        await lifecycle.shut_down()


async def test_the_numbers_add_up(database: Database) -> None:
    async with _inspecting(database, pool_size=3) as (inspector, connection):
        may_end = asyncio.Event()
        _look(inspector)

        async def hold() -> None:
            await run(connection, "SELECT 1")
            await may_end.wait()

        tasks = [asyncio.create_task(run_in_new_ctx(hold)) for _ in range(5)]
        await until(lambda: _look(inspector)["sessions"]["by_state"] == {"held idle": 3, "waiting": 2}, "two wait")
        worker = _look(inspector)
        (pool,), sessions = worker["pools"], worker["sessions"]
        assert sessions["total"] == sum(sessions["by_state"].values()) == len(sessions["shown"]) == 5
        assert pool["used"] == sum(len(each["connections"]) for each in sessions["shown"]) == len(pool["holders"]) == 3
        assert pool["waiting"] == len(pool["waiters"]) == 2
        assert pool["peak_used"] == 3
        assert pool["advice"]["peak"] == 5
        assert 1 <= len(pool["history"]) <= 60
        assert all(used <= 3 and waiting <= 2 for used, waiting in pool["history"])
        held = [max(each["held"] for each in session["connections"]) for session in sessions["shown"][:3]]
        assert held == sorted(held, reverse=True)
        for session in sessions["shown"]:
            assert 0 <= session["idle_share"] <= 1
            assert all(0 <= each["idle"] <= each["held"] <= session["age"] for each in session["connections"])
        may_end.set()
        await asyncio.gather(*tasks)
        worker = _look(inspector)
        (pool,), (route,) = worker["pools"], worker["routes"]
        assert (route["route"], route["sessions"]) == ("none", 5)
        assert 0 < route["held_idle"] <= route["held"]
        average, window = pool["advice"]["average"], pool["advice"]["window"]
        # Both are rounded, and the window of a fast machine is short.
        assert average * window == pytest.approx(route["held"], abs=0.001 * (average + window))
        assert pool["idle"] == 3


async def test_before_the_first_look_nothing_is_summed_up(database: Database) -> None:
    async with _inspecting(database) as (inspector, connection):
        await run_in_new_ctx(run, connection, "SELECT 1")
        worker = _look(inspector)
        assert worker["routes"] == []
        assert worker["pools"][0]["advice"]["average"] == 0
        await run_in_new_ctx(run, connection, "SELECT 1")
        assert _look(inspector)["routes"][0]["sessions"] == 1


async def test_a_route_that_holds_idle_is_told_what_to_change_and_where(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context_async_sqlalchemy_inspector.advice._LEAST_IDLE", 0.0)
    async with _inspecting(database) as (inspector, connection):
        may_end = asyncio.Event()
        _look(inspector)

        async def call_a_service() -> None:
            await may_end.wait()

        async def hold() -> None:
            await run(connection, "SELECT 1")
            await call_a_service()

        task = asyncio.create_task(run_in_new_ctx(hold))
        await until(lambda: _look(inspector)["sessions"]["by_state"] == {"held idle": 1}, "it holds")
        await asyncio.sleep(0.1)
        may_end.set()
        await task
        (route,) = _look(inspector)["routes"]
        assert "await commit_db_session(connection)" in route["text"]
        assert "inspector/test_state.py:" in route["text"]
        assert route["text"].endswith(" call_a_service.")


async def test_ten_thousand_open_sessions_give_a_bounded_answer(database: Database) -> None:
    async with _inspecting(database) as (inspector, connection):
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
        assert _look(inspector)["sessions"]["total"] == 0


async def test_a_context_that_is_dropped_without_an_end_is_not_kept(database: Database) -> None:
    async with _inspecting(database) as (inspector, _connection):
        contexts = [ContextRecord("GET /", perf_counter_ns())]
        inspector.context_began(contexts[0])
        assert _look(inspector)["sessions"]["total"] == 1
        contexts.clear()
        gc.collect()
        assert _look(inspector)["sessions"]["total"] == 0


async def test_a_hostile_route_is_text_and_no_statement_is_shown(database: Database) -> None:
    hostile = "GET /<script>alert(1)</script>\"'\\ud800"
    async with _inspecting(database) as (inspector, connection):
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
        await until(lambda: bool(_look(inspector)["blocked"]), "it is blocked")
        worker = _look(inspector)
        (shown,) = worker["blocked"]
        by_id = {each["id"]: each for each in worker["sessions"]["shown"]}
        waiting = by_id.pop(shown["session"])
        (holding,) = by_id.values()
        assert shown["backend_pid"] == waiting["connections"][0]["backend_pid"]
        assert shown["blocked_by"] == [holding["connections"][0]["backend_pid"]]
        assert worker["pools"][0]["used"] == 2
    await blocked
    await lifecycle.shut_down()


_instants = st.lists(st.integers(0, 10**9), min_size=2, max_size=8, unique=True).map(sorted)


@settings(max_examples=50, deadline=None)
@given(_instants, st.lists(st.integers(0, 10**8), min_size=4, max_size=4), st.booleans())
def test_the_parts_of_a_hold_leave_no_gap(instants: list[int], busy: list[int], is_early: bool) -> None:
    record = ContextRecord("GET /", began_at=0, epoch_offset=0)
    record.ended_at = 2 * 10**9
    between = instants[1:-1]
    transactions = [
        Transaction(begin, end, busy=min(took, end - begin))
        for begin, end, took in zip(between[::2], between[1::2], busy, strict=False)
    ]
    checkout = Checkout(FakePool(), record, 0, instants[0], instants[-1], transactions=transactions, is_early=is_early)
    session = OpenSession(record, None)
    session.ended(checkout)
    _check_parts(parts_of(session, record), 2.0)


def _check_parts(parts: list[Any], duration: float) -> None:
    def total(kind: str) -> float:
        return float(sum(part["to"] - part["from"] for part in parts if part["kind"] == kind))

    assert all(0 <= part["from"] <= part["to"] <= duration + 1e-6 for part in parts)
    assert total("hold") == pytest.approx(total("transaction") + total("idle"), abs=1e-4)
    assert [part["from"] for part in parts] == sorted(part["from"] for part in parts)


async def test_the_trace_of_a_recorded_span_is_shown(database: Database) -> None:
    tracer = TracerProvider().get_tracer("test")
    async with _inspecting(database) as (inspector, connection):
        with tracer.start_as_current_span("GET /") as span:
            async with db_context():
                await run(connection, "SELECT 1")
                (session,) = _look(inspector)["sessions"]["shown"]
        assert session["trace_id"] == format(span.get_span_context().trace_id, "032x")
        async with db_context():
            await run(connection, "SELECT 1")
            (session,) = _look(inspector)["sessions"]["shown"]
        assert session["trace_id"] is None
        async with connection.ensure_engine().connect():
            with tracer.start_as_current_span("GET /_db/state.json"):
                (session,) = _look(inspector)["sessions"]["shown"]
        assert session["trace_id"] is None, "the trace of the visitor is not that of the session"
