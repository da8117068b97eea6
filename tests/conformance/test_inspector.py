"""The inspector: off unless asked for, closed to strangers, and the same on every framework."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy_inspector import Inspector
from tests.adapters.inspector.looking import CSP, TOKEN, Visitor, visiting
from tests.conformance.driver import Driver, Exchange, Reply, Setup
from tests.conformance.statements import run
from tests.support.database import Database
from tests.support.recorder import Recorder
from tests.support.waiting import until_async


@asynccontextmanager
async def _serving(driver: Driver, **options: Any) -> AsyncGenerator[Visitor]:
    async def handler(_exchange: Exchange) -> Reply:
        return Reply()

    async with driver.serving(Setup(handler, [], options)) as port, visiting(port) as visitor:
        yield visitor


async def test_without_the_option_there_is_none(driver: Driver) -> None:
    async with _serving(driver) as visitor:
        assert (await visitor.get())[0] == 404


async def test_it_opens_by_the_token_and_then_by_the_cookie(driver: Driver) -> None:
    recorder = Recorder()
    async with _serving(driver, observers=[Inspector(token=TOKEN), recorder]) as visitor:
        for below in ("", "/", "/state.json", "?token=wrong", "?token=", "/log-in", "/log-in?token=wrong"):
            status, headers, body = await visitor.get(below)
            assert (status, headers["Content-Security-Policy"]) == (403, CSP)
            assert b"log at its start" in body
        cookie, path = await visitor.log_in()
        assert path == "/_db"
        # The browser takes the path of the answer as that of the cookie, without its last slash.
        assert cookie.partition(";")[2] == " HttpOnly; SameSite=Strict"
        assert TOKEN not in cookie
        assert [cookie["path"] for cookie in visitor.client.cookie_jar] == ["/_db"]
        for below in ("", "/"):
            status, headers, body = await visitor.get(below)
            assert status == 200
            assert headers["Content-Type"] == "text/html; charset=utf-8"
            assert b"{base}" not in body
            assert (b'"_db/' in body) == (below == "")
        _, headers, body = await visitor.get("/state.json")
        assert headers["Content-Type"] == "application/json"
        assert json.loads(body)["access"] == "all"
        assert headers["Content-Security-Policy"] == CSP
        for name, value in {
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }.items():
            assert headers[name] == value
    assert recorder.contexts == []


async def test_another_site_may_not_ask(driver: Driver) -> None:
    foreign = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ]
    async with _serving(driver, observers=[Inspector(token=TOKEN)]) as visitor:
        await visitor.log_in()
        for headers in foreign:
            for below in ("", "/state.json", f"?token={TOKEN}", f"/log-in?token={TOKEN}"):
                assert (await visitor.get(below, headers=headers))[0] == 403
        navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert (await visitor.get(f"?token={TOKEN}", headers=navigation))[0] == 303
        assert (await visitor.get("/state.json", headers=navigation))[0] == 403
        async with visitor.client.head("/_db/state.json") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        async with visitor.client.post("/_db/state.json") as answer:
            assert answer.status in (404, 405)


async def test_the_option_of_setup_db_serves_it(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTEXT_ASYNC_SQLALCHEMY_INSPECTOR_TOKEN", TOKEN)
    async with _serving(driver, observers=[], inspector_path="/internal/sessions") as visitor:
        visitor.path = "/internal/sessions"
        _, path = await visitor.log_in()
        assert path == "/internal/sessions"
        assert [cookie["path"] for cookie in visitor.client.cookie_jar] == ["/internal/sessions"]
        assert (await visitor.get("/state.json"))[0] == 200


async def test_it_shows_who_waits_for_whom_and_at_which_line(driver: Driver, database: Database) -> None:
    connection = DBConnect.from_url(database.url, name="main", pool_size=1, max_overflow=0)
    may_go_on = asyncio.Event()

    async def pay() -> None:
        await may_go_on.wait()

    async def hold(_exchange: Exchange) -> Reply:
        await run(connection, "SELECT 1")
        await pay()
        return Reply()

    others = {"/hold": hold}

    async def handler(_exchange: Exchange) -> Reply:
        await run(connection, "SELECT 'marked-secret'")
        return Reply()

    inspector = Inspector(token=TOKEN, slow=0.001)
    setup = Setup(handler, [connection], {"observers": [inspector]}, others=others)
    async with driver.serving(setup) as port, visiting(port) as visitor:
        await visitor.log_in()
        held = asyncio.create_task(visitor.client.get(f"{driver.prefix}/hold").__aenter__())
        await until_async(lambda: _is_state(visitor, {"held idle": 1}), "one holds")
        waits = asyncio.create_task(visitor.client.get(f"{driver.prefix}/").__aenter__())
        await until_async(lambda: _is_state(visitor, {"held idle": 1, "waiting": 1}), "one waits")
        worker = await visitor.state()
        holder, waiter = worker["sessions"]["shown"]
        (pool,) = worker["pools"]
        assert pool["holders"] == [holder["id"]]
        assert [(each["session"], each["route"]) for each in pool["waiters"]] == [(waiter["id"], driver.route("/"))]
        assert (pool["used"], pool["waiting"], pool["size"], pool["max_overflow"]) == (1, 1, 1, 0)
        assert (holder["route"], holder["kind"], holder["statements"]) == (driver.route("/hold"), "request", 1)
        assert holder["awaiting"].startswith("conformance/test_inspector.py:")
        assert holder["awaiting"].endswith(" pay")
        assert holder["connections"][0]["backend_pid"] > 0
        assert waiter["awaiting"].endswith(" run")
        may_go_on.set()
        assert (await held).status == (await waits).status == 200
        await until_async(lambda: _is_state(visitor, {}), "all have ended")
        _, _, body = await visitor.get("/state.json")
        assert b"marked-secret" not in body
        assert b"SELECT" not in body
        finished = json.loads(body)["workers"][0]["finished"]["shown"]
        assert {each["route"]: each["reasons"] for each in finished} == {
            driver.route("/"): ["slow"],
            driver.route("/hold"): ["slow"],
        }


async def _is_state(visitor: Visitor, by_state: dict[str, int]) -> bool:
    return bool((await visitor.state())["sessions"]["by_state"] == by_state)
