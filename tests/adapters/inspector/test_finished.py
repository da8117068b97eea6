"""What the inspector keeps of finished sessions."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from context_async_sqlalchemy import (
    DBConnect,
    PoolOverloadedError,
    commit_db_session,
    db_context,
    run_in_new_ctx,
    set_rollback,
)
from context_async_sqlalchemy.observer import Checkout, ContextRecord, Transaction
from context_async_sqlalchemy.retry import Retry
from context_async_sqlalchemy_inspector.finished import parts_of
from context_async_sqlalchemy_inspector.session import OpenSession
from tests.adapters.inspector.inspecting import inspecting, look
from tests.adapters.prometheus.records import FakePool
from tests.conformance.statements import run
from tests.support.database import CONFLICT, Database

pytestmark = pytest.mark.usefixtures("fresh")


async def test_finished_sessions_are_kept_with_their_parts(database: Database) -> None:
    async with inspecting(database, slow=1000) as (inspector, connection):
        await run_in_new_ctx(run, connection, "SELECT 1")

        async def rolled_back() -> None:
            await run(connection, "SELECT 1")
            await commit_db_session(connection)
            await run(connection, "SELECT 2")
            set_rollback()

        await run_in_new_ctx(rolled_back)
        with pytest.raises(Exception, match="conflict"):
            await run_in_new_ctx(run, connection, CONFLICT, retry=Retry(attempts=2, base_delay=0))
        finished = look(inspector)["finished"]
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
    async with inspecting(database, pool_size=1, max_wait=0.01) as (inspector, connection):
        async with db_context():
            await run(connection, "SELECT 1")

            async def shed() -> None:
                await run(connection, "SELECT 1")

            with pytest.raises(PoolOverloadedError):
                await run_in_new_ctx(shed)
        (entry,) = look(inspector)["finished"]["shown"]
        assert "failed" in entry["reasons"]
        assert [part["kind"] for part in entry["parts"]] == ["wait"]
        (pool,) = look(inspector)["pools"]
        assert (pool["max_wait"], pool["max_waiting"]) == ("0.01", None)


async def test_the_ring_is_bounded_and_rollbacks_push_nothing_else_out(database: Database) -> None:
    async def rolled_back(connection: DBConnect) -> None:
        await run(connection, "SELECT 1")
        set_rollback()

    async with inspecting(database, keep=9) as (inspector, connection):
        with pytest.raises(Exception, match="conflict"):
            await run_in_new_ctx(run, connection, CONFLICT, retry=Retry(attempts=2, base_delay=0))
        before = look(inspector)["finished"]["kept"]
        for _ in range(20):
            await run_in_new_ctx(rolled_back, connection)
        finished = look(inspector)["finished"]
        assert finished["kept"] == before + 2
        assert any("retried" in each["reasons"] for each in finished["shown"])
        ended = [each["ended_at"] for each in finished["shown"]]
        assert ended == sorted(ended, reverse=True)


@pytest.mark.parametrize("keep", [1, 2])
async def test_a_ring_of_one_keeps_what_was_not_only_rolled_back(database: Database, keep: int) -> None:
    async with inspecting(database, slow=1e-9, keep=keep) as (inspector, connection):
        await run_in_new_ctx(run, connection, "SELECT 1")
        (entry,) = look(inspector)["finished"]["shown"]
        assert entry["reasons"] == ["slow"]
    async with inspecting(database, keep=keep) as (inspector, connection):
        with pytest.raises(Exception, match="conflict"):
            await run_in_new_ctx(run, connection, CONFLICT, retry=Retry(attempts=2, base_delay=0))
        assert any("retried" in each["reasons"] for each in look(inspector)["finished"]["shown"])


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
