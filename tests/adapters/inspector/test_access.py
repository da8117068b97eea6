"""Who may look: the token that is logged, and a function of the application."""

import logging
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from context_async_sqlalchemy import setup_db
from context_async_sqlalchemy.observer import ResourceRequest
from context_async_sqlalchemy_inspector import Inspector
from context_async_sqlalchemy_inspector.access import TokenGate, is_foreign
from context_async_sqlalchemy_inspector.tokens import TOKEN_VARIABLE, cookie_of
from tests.adapters.inspector.looking import TOKEN

SECRET = "marked-secret"  # noqa: S105 - looked for in messages


async def test_a_function_of_the_headers_decides(aiohttp_client: AiohttpClient) -> None:
    def access(headers: Mapping[str, str]) -> Any:
        return headers.get("x-role")

    app = web.Application()
    setup_db(app, [], observers=[Inspector(access=access)])
    client = await aiohttp_client(app)
    navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for path in ("/_db", "/_db/state.json", "/_db?token=x", "/_db/log-in?token=x"):
        for headers in ({}, {"X-Role": "none"}):
            response = await client.get(path, headers=headers)
            assert (response.status, "access=" in await response.text()) == (403, True)
    # A link of another site may open the page, because the application has decided.
    assert (await client.get("/_db", headers={"X-Role": "all", **navigation})).status == 200
    assert (await client.get("/_db/state.json", headers={"X-Role": "all", **navigation})).status == 403
    for role in ("all", "read-only"):
        response = await client.get("/_db/state.json", headers={"X-Role": role})
        assert (await response.json())["access"] == role
        assert "Set-Cookie" not in response.headers


async def test_visitors_of_two_applications_of_a_host_stay_logged_in(aiohttp_client: AiohttpClient) -> None:
    # A browser sends a cookie to all ports of a host.
    jar = aiohttp.CookieJar(unsafe=True)
    clients: list[TestClient[web.Request, web.Application]] = []
    for token in ("first", "second"):
        app = web.Application()
        setup_db(app, [], observers=[Inspector(token=token)])
        client = await aiohttp_client(app, cookie_jar=jar)
        assert (await client.get(f"/_db?token={token}")).status == 200
        clients.append(client)
    assert [(await client.get("/_db")).status for client in clients] == [200, 200]


@pytest.mark.parametrize("is_raised", [True, False])
async def test_a_function_that_fails_lets_nobody_in_and_says_so_once(
    is_raised: bool, aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    def access(headers: Mapping[str, str]) -> Any:
        if is_raised:
            raise ValueError(headers["x-secret"])
        return True

    app = web.Application()
    setup_db(app, [], observers=[Inspector(access=access)])
    client = await aiohttp_client(app)
    for _ in range(2):
        assert (await client.get("/_db", headers={"X-Secret": SECRET})).status == 403
    (record,) = [record for record in caplog.records if record.name == "context_async_sqlalchemy"]
    assert record.levelno == logging.ERROR
    assert ("raised ValueError" if is_raised else "returned a bool") in record.message
    assert SECRET not in caplog.text


def test_impossible_arguments_are_refused() -> None:
    async def asynchronous(_headers: Mapping[str, str]) -> Any: ...

    impossible: list[Any] = [asynchronous, "all"]
    for wrong in impossible:
        with pytest.raises(TypeError, match="access is a function of the request's headers"):
            Inspector(access=wrong)
    with pytest.raises(ValueError, match="pass one of them"):
        Inspector(access=lambda _headers: "all", token=TOKEN)
    with pytest.raises(ValueError, match="pass a long random one"):
        Inspector(token="")
    options: Any
    for options in ({"slow": 0}, {"slow": float("nan")}, {"keep": 0}):
        with pytest.raises(ValueError, match="are positive"):
            Inspector(token=TOKEN, **options)
    for option, wrong in (
        ("path", True),
        ("path", 5),
        ("token", 5),
        ("slow", "1"),
        ("slow", True),
        ("keep", 1.5),
        ("keep", True),
        ("blockers", "off"),
        ("workers_directory", 5),
    ):
        options = {"token": TOKEN, option: wrong}
        with pytest.raises(TypeError, match=f"^{option} of the inspector is .*: got an? {type(wrong).__name__}"):
            Inspector(**options)


def test_the_token_is_logged_once_and_is_that_of_the_processes_that_are_started() -> None:
    child = "from context_async_sqlalchemy_inspector import Inspector; Inspector('/_db')"
    program = f"""
import os, subprocess, sys
from context_async_sqlalchemy_inspector import Inspector
Inspector("/internal/sessions"), Inspector()
print(os.environ["{TOKEN_VARIABLE}"])
subprocess.run([sys.executable, "-c", {child!r}], check=True)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)  # noqa: S603
    token = result.stdout.strip()
    assert len(token) > 40
    (line,) = result.stderr.splitlines()
    assert f"/internal/sessions?token={token}:" in line


def test_the_token_is_in_no_repr() -> None:
    inspector = Inspector(token=SECRET)
    assert SECRET not in repr((inspector, vars(inspector), list(inspector.resources())))


@pytest.mark.parametrize(
    "cookie",
    ["", "x", f"{cookie_of(TOKEN)[0]}", f"{cookie_of(TOKEN)[0]}=ü", "\x00=;", "a=b, c=d"],
)
def test_a_strange_cookie_lets_nobody_in(cookie: str) -> None:
    assert TokenGate(TOKEN).access_of(ResourceRequest("/_db", "", {"cookie": cookie})) == "none"


@pytest.mark.parametrize("other", ["flag", 'theme={"a": 1}', "a[b]=1", "name=é", "at=Thu Nov 26", 'open="un', "=", ""])
def test_a_cookie_of_another_part_of_the_site_does_not_log_out(other: str) -> None:
    own = "=".join(cookie_of(TOKEN))
    for cookie in (f"{own}; {other}", f"{other}; {own}", f"{other};{own}"):
        assert TokenGate(TOKEN).access_of(ResourceRequest("/_db", "", {"cookie": cookie})) == "all"


@pytest.mark.parametrize("path", ["//evil.example/_db", "/a\r\nX: y/_db", "/_db;Domain=evil.example/"])
def test_a_redirection_leads_to_no_other_host_and_sets_no_other_cookie(path: str) -> None:
    first = TokenGate(TOKEN).log_in(ResourceRequest(path, f"token={TOKEN}", {}))
    assert first is not None
    assert dict(first.headers)["Location"] in (f"./_db/log-in?token={TOKEN}", f"./log-in?token={TOKEN}")
    path = f"{path.rstrip('/')}/log-in"
    second = dict(TokenGate(TOKEN).give_cookie(ResourceRequest(path, f"token={TOKEN}", {})).headers)
    assert second["Location"] in ("../_db", "../_db%3BDomain%3Devil.example")
    assert second["Set-Cookie"].partition(";")[2] == " HttpOnly; SameSite=Strict"


async def test_it_opens_behind_a_proxy_that_takes_a_prefix_off(aiohttp_client: AiohttpClient) -> None:
    app = web.Application()
    setup_db(app, [], observers=[Inspector(token=TOKEN)])
    application = await aiohttp_client(app)

    async def forward(request: web.Request) -> web.Response:
        headers = {"Cookie": request.headers.get("Cookie", "")}
        path = request.raw_path.removeprefix("/svc")
        async with application.session.get(application.make_url(path), headers=headers, allow_redirects=False) as got:
            passed = {name: got.headers[name] for name in ("Location", "Set-Cookie") if name in got.headers}
            return web.Response(status=got.status, headers=passed, body=await got.read())

    proxy = web.Application()
    proxy.router.add_get("/{path:.*}", forward)
    browser = await aiohttp_client(proxy)
    page = await browser.get("/svc/_db", params={"token": TOKEN})
    assert (page.status, str(page.url.relative())) == (200, "/svc/_db")
    for path in ("/svc/_db", "/svc/_db/", "/svc/_db/state.json"):
        assert (await browser.get(path)).status == 200
    # The cookie belongs to the inspector alone.
    assert [cookie["path"] for cookie in browser.session.cookie_jar] == ["/svc/_db"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-origin", "origin": "http://shop.example:80", "host": "shop.example:80"}, False),
        ({"origin": "http://shop.example", "host": "SHOP.example"}, False),
        ({"origin": "http://shop.example", "host": "shop.example:8080"}, True),
        ({"origin": "http://[", "host": "shop.example"}, True),
        ({"origin": "null", "host": "shop.example"}, True),
        ({"sec-fetch-site": "same-site"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
    ],
)
def test_who_is_foreign(headers: dict[str, str], expected: bool) -> None:
    assert is_foreign(headers) == expected
