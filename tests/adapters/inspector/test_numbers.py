"""The inspector's numbers of pools and routes add up."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from context_async_sqlalchemy import (
    DBConnect,
    db_context,
    run_in_new_ctx,
)
from context_async_sqlalchemy.adapter_kit import Lifecycle
from context_async_sqlalchemy_inspector import Inspector
from tests.adapters.inspector.inspecting import inspecting, look
from tests.adapters.inspector.looking import TOKEN
from tests.conformance.statements import run
from tests.support.database import Database
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("fresh")


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
            look(inspector)
            worker = look(inspector)
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
    async with inspecting(database, pool_size=3) as (inspector, connection):
        may_end = asyncio.Event()
        look(inspector)

        async def hold() -> None:
            await run(connection, "SELECT 1")
            await may_end.wait()

        tasks = [asyncio.create_task(run_in_new_ctx(hold)) for _ in range(5)]
        await until(lambda: look(inspector)["sessions"]["by_state"] == {"held idle": 3, "waiting": 2}, "two wait")
        worker = look(inspector)
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
        worker = look(inspector)
        (pool,), (route,) = worker["pools"], worker["routes"]
        assert (route["route"], route["sessions"]) == ("none", 5)
        assert 0 < route["held_idle"] <= route["held"]
        average, window = pool["advice"]["average"], pool["advice"]["window"]
        # Both are rounded, and the window of a fast machine is short.
        assert average * window == pytest.approx(route["held"], abs=0.001 * (average + window))
        assert pool["idle"] == 3


async def test_before_the_first_look_nothing_is_summed_up(database: Database) -> None:
    async with inspecting(database) as (inspector, connection):
        await run_in_new_ctx(run, connection, "SELECT 1")
        worker = look(inspector)
        assert worker["routes"] == []
        assert worker["pools"][0]["advice"]["average"] == 0
        await run_in_new_ctx(run, connection, "SELECT 1")
        assert look(inspector)["routes"][0]["sessions"] == 1


async def test_a_route_that_holds_idle_is_told_what_to_change_and_where(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context_async_sqlalchemy_inspector.advice._LEAST_IDLE", 0.0)
    async with inspecting(database) as (inspector, connection):
        may_end = asyncio.Event()
        look(inspector)

        async def call_a_service() -> None:
            await may_end.wait()

        async def hold() -> None:
            await run(connection, "SELECT 1")
            await call_a_service()

        task = asyncio.create_task(run_in_new_ctx(hold))
        await until(lambda: look(inspector)["sessions"]["by_state"] == {"held idle": 1}, "it holds")
        await asyncio.sleep(0.1)
        may_end.set()
        await task
        (route,) = look(inspector)["routes"]
        assert "await commit_db_session(connection)" in route["text"]
        assert "inspector/test_numbers.py:" in route["text"]
        assert route["text"].endswith(" call_a_service.")
