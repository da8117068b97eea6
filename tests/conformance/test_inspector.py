"""The inspector: off unless asked for, closed to strangers, and the same on every framework."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from context_async_sqlalchemy_inspector import Inspector
from tests.adapters.inspector.looking import CSP, TOKEN, Visitor, visiting
from tests.conformance.driver import Driver, Exchange, Reply, Setup
from tests.support.recorder import Recorder


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
        for below in ("", "/", "/state.json", "?token=wrong", "?token="):
            status, headers, body = await visitor.get(below)
            assert (status, headers["Content-Security-Policy"]) == (403, CSP)
            assert b"log at its start" in body
        status, headers, _ = await visitor.get(f"?token={TOKEN}")
        assert (status, headers["Location"]) == (303, "./_db")
        cookie = headers["Set-Cookie"]
        assert cookie.endswith("; HttpOnly; SameSite=Strict; Path=/_db")
        assert TOKEN not in cookie
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


async def test_head_is_answered_without_a_body(driver: Driver) -> None:
    async with _serving(driver, observers=[Inspector(token=TOKEN)]) as visitor:
        await visitor.log_in()
        async with visitor.client.head("/_db/state.json") as answer:
            assert answer.status == 200
            assert await answer.read() == b""
        async with visitor.client.post("/_db/state.json") as answer:
            assert answer.status in (404, 405)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_site_may_not_ask(driver: Driver, headers: dict[str, str]) -> None:
    async with _serving(driver, observers=[Inspector(token=TOKEN)]) as visitor:
        await visitor.log_in()
        for below in ("", "/state.json", f"?token={TOKEN}"):
            assert (await visitor.get(below, headers=headers))[0] == 403
        navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert (await visitor.get(f"?token={TOKEN}", headers=navigation))[0] == 303
        assert (await visitor.get("/state.json", headers=navigation))[0] == 403


async def test_the_option_of_setup_db_serves_it(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTEXT_ASYNC_SQLALCHEMY_INSPECTOR_TOKEN", TOKEN)
    async with _serving(driver, observers=[], inspector_path="/internal/sessions") as visitor:
        visitor.path = "/internal/sessions"
        status, headers, _ = await visitor.get(f"?token={TOKEN}")
        assert (status, headers["Location"]) == (303, "./sessions")
        assert headers["Set-Cookie"].endswith("Path=/internal/sessions")
        assert (await visitor.get("/state.json"))[0] == 200
