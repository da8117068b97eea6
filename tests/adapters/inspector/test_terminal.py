"""``python -m context_async_sqlalchemy_inspector`` against a real application."""

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from context_async_sqlalchemy_inspector import __main__ as terminal
from context_async_sqlalchemy_inspector.tokens import TOKEN_VARIABLE
from tests.adapters.inspector.shop import TOKEN, Shop, serving
from tests.adapters.inspector.states import HOSTILE
from tests.support.ports import free_port
from tests.support.waiting import until

PATIENCE = 30.0

INTERRUPTIBLE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("context_async_sqlalchemy_inspector", run_name="__main__")
"""
"""The program. A shell starts what runs in its background with SIGINT ignored, and the program would inherit that."""


@pytest.fixture
async def shop(database_url: str) -> AsyncGenerator[Shop]:
    async with serving(database_url, name="main") as served:
        yield served


@pytest.fixture(autouse=True)
def without_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


async def _status(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["inspector", *arguments])
    # In a thread, because the application is served by the loop of this test.
    return await asyncio.to_thread(terminal.main)


async def test_once_shows_the_answer_and_the_sessions(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with shop.order_in_payment():
        assert await _status(monkeypatch, shop.url, "--once") == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("pool main: 1 of 1 in use, 1 waiting up to ")
    assert "GET /orders holds 1 of them, " in first
    assert [line.split()[:4] for line in others if "held idle" in line and "shop.py:" in line] == [
        ["GET", "/orders", "held", "idle"]
    ]
    assert any(line.split()[:3] == ["GET", "/products", "waiting"] for line in others)


async def test_json_is_the_state_and_needs_no_rich(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert await _status(monkeypatch, shop.url, "--json") == 0
    state = json.loads(capsys.readouterr().out)
    assert (state["version"], len(state["workers"])) == (1, 1)
    assert await _status(monkeypatch, shop.url, "--once") == 2
    assert "needs rich: pip install rich." in capsys.readouterr().err


async def test_the_token_can_come_from_the_environment_or_an_option(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = f"{shop.origin}/_db/"
    assert await _status(monkeypatch, page, "--json", "--token", TOKEN) == 0
    assert await _status(monkeypatch, page, "--json") == 1
    assert "asks for a token: pass the URL with ?token= that the application printed" in capsys.readouterr().err
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert await _status(monkeypatch, page, "--json") == 0


async def test_a_refusal_and_an_address_without_an_inspector_say_what_to_do(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = free_port()
    for url, message in (
        (
            f"{shop.origin}/_db?token=secret-of-yesterday",
            "refuses the token. Each start of the application makes",
        ),
        (f"{shop.origin}/elsewhere", "does not exist: pass the path that the application gave to the inspector"),
        (f"http://127.0.0.1:{closed}/_db", "does not answer: "),
        ("file:///etc/passwd", "is no URL of HTTP"),
        ("http://[::1/_db?token=secret-of-yesterday", "http://[::1/_db is no URL of HTTP"),
        (f"{shop.origin}/ü", "Letters beyond ASCII are encoded in a URL"),
        ("http://127.0.0.1:x/_db", "does not answer: "),
    ):
        assert await _status(monkeypatch, url, "--once") == 1
        shown = capsys.readouterr()
        assert (shown.out, message in shown.err) == ("", True), shown.err
        assert "secret-of-yesterday" not in shown.err


async def test_headers_do_not_go_to_another_host(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], aiohttp_server: AiohttpServer
) -> None:
    reached: list[str] = []

    async def other(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.json_response({"version": 1})

    async def leading(_request: web.Request) -> web.Response:
        raise web.HTTPFound(there)

    elsewhere, app = web.Application(), web.Application()
    elsewhere.router.add_get("/{path:.*}", other)
    app.router.add_get("/{path:.*}", leading)
    there = (await aiohttp_server(elsewhere)).make_url("/_db").with_host("localhost")
    url = str((await aiohttp_server(app)).make_url("/_db"))
    assert await _status(monkeypatch, url, "--json", "--header", "Authorization: Bearer x") == 1
    assert f"leads to {there.origin()}, which would get your headers" in capsys.readouterr().err
    assert reached == []
    assert await _status(monkeypatch, url, "--json", "--header", "X-Name: ☃") == 1
    assert "cannot be sent: use letters of ASCII" in capsys.readouterr().err


async def test_a_name_with_control_characters_is_shown_escaped(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(database_url, name=HOSTILE) as shop, shop.order_in_payment():
        assert await _status(monkeypatch, shop.url, "--once") == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "pool GET /\\x1b[31m<img src=x onerror=alert(1)>[bold]\\u202e: 1 of 1 in use" in shown


async def test_the_live_view_follows_the_application_until_ctrl_c(shop: Shop) -> None:
    ours, its = pty.openpty()
    shown: list[bytes] = []
    # Whatever the program writes is read at once, because it could not end with a terminal that takes no more.
    asyncio.get_running_loop().add_reader(ours, lambda: shown.append(os.read(ours, 65_536)))

    async def shows(text: str) -> None:
        await until(lambda: text in b"".join(shown).decode(errors="replace"), text)

    try:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", INTERRUPTIBLE, shop.url),
            stdin=its,
            stdout=its,
            stderr=its,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        )
        await shows("Open sessions: 0")
        async with shop.order_in_payment():
            await shows("pool main: 1 of 1 in use, 1 waiting")
            program.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(program.wait(), PATIENCE) == 0
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        os.close(its)
        os.close(ours)
