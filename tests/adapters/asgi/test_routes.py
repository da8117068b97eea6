"""The names of routes for metrics and spans: templates of the application's, whatever the client sends."""

import itertools
import uuid
from collections.abc import Iterable
from typing import Any

import aiohttp
import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router
from starlette.websockets import WebSocket

from context_async_sqlalchemy import ASGIHTTPDBSessionMiddleware, DBConnect, setup_db
from context_async_sqlalchemy.observer import UNMATCHED_ROUTE
from context_async_sqlalchemy_asgi.protocol import Receive, Scope, Send
from context_async_sqlalchemy_asgi.routes import route_of
from tests.conformance.statements import run
from tests.support.asgi_servers import under_uvicorn
from tests.support.recorder import Recorder


async def _answer(_request: Request) -> Response:
    return PlainTextResponse("")


class _Spy:
    """Keeps the names of the routes that requests had at their end."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.seen: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
        self.seen.append(route_of(scope))


async def _names(app: Any, paths: Iterable[str], root_path: str = "") -> list[str]:
    spy = _Spy(app)
    transport = httpx.ASGITransport(spy, root_path=root_path)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://localhost{root_path}") as client:
        for path in paths:
            await client.get(path)
    return spy.seen


def _fastapi_with(path: str, endpoint: Any) -> FastAPI:
    app = FastAPI()
    app.add_api_route(path, endpoint)
    return app


def _with_included_router() -> FastAPI:
    inner, outer, app = APIRouter(), APIRouter(), FastAPI()
    inner.add_api_route("/orders/{id}", _answer)
    outer.include_router(inner, prefix="/inner/{inner}")
    app.include_router(outer, prefix="/outer")
    return app


_PLAIN = Starlette(routes=[Route("/orders/{id}", _answer)])
_TREES: list[tuple[Any, str, str]] = [
    (Starlette(routes=[Route("/{name}", _answer)]), "/someone", "GET /{name}"),
    (Starlette(routes=[Route("/{name}/{n:int}", _answer)]), "/a/007", "GET /{name}/{n}"),
    (Starlette(routes=[Mount("/shops/{shop}", _PLAIN)]), "/shops/7/orders/8", "GET /shops/{shop}/orders/{id}"),
    (Starlette(routes=[Mount("/shops/{shop}", _PLAIN)]), "/shops/7/none", "GET /shops/{shop}"),
    (Starlette(routes=[Mount("/n/{n:int}", _PLAIN)]), "/n/007/orders/007", "GET /n/{n}/orders/{id}"),
    (Starlette(routes=[Mount("/n/{n:float}", _PLAIN)]), "/n/1.50/orders/1", "GET /n/{n}/orders/{id}"),
    (Starlette(routes=[Mount("/f/{p:path}/x", _PLAIN)]), "/f/a/b/c/x/orders/1", "GET /f/{p}/x/orders/{id}"),
    (
        Starlette(routes=[Mount("/t/{t:uuid}", _PLAIN)]),
        f"/t/{str(uuid.UUID(int=0xABCDEF)).upper()}/orders/1",
        "GET /t/{t}/orders/{id}",
    ),
    (
        Starlette(routes=[Mount("/a/{a}", routes=[Mount("/b/{b}", routes=[Route("/c/{c}", _answer)])])]),
        "/a/1/b/1/c/1",
        "GET /a/{a}/b/{b}/c/{c}",
    ),
    (Starlette(routes=[Mount("", routes=[Route("/orders", _answer)])]), "/orders", "GET /orders"),
    (Starlette(routes=[Mount("/first", _PLAIN), Mount("/{any}", _PLAIN)]), "/x/orders/1", "GET /{any}/orders/{id}"),
    (Starlette(routes=[Host("localhost", Router([Route("/hosted", _answer)]))]), "/hosted", "GET /hosted"),
    (
        Starlette(routes=[Mount("/m", _Spy(_fastapi_with("/orders/{id}", _answer)))]),
        "/m/orders/1",
        "GET /m/orders/{id}",
    ),
    (_fastapi_with("/orders/{id}", _answer), "/orders/1", "GET /orders/{id}"),
    (_with_included_router(), "/outer/inner/1/orders/1", "GET /outer/inner/{inner}/orders/{id}"),
    (
        Starlette(routes=[Mount("/v/{v:int}", _with_included_router())]),
        "/v/01/outer/inner/1/orders/1",
        "GET /v/{v}/outer/inner/{inner}/orders/{id}",
    ),
    (
        Starlette(routes=[Mount("/v/{v:int}", _fastapi_with("/orders/{id:int}", _answer))]),
        "/v/01/orders/01",
        "GET /v/{v}/orders/{id}",
    ),
    (_PLAIN, "/none/at/all", UNMATCHED_ROUTE),
]


@pytest.mark.parametrize("root_path", ["", "/behind/a/proxy"])
@pytest.mark.parametrize(("app", "path", "name"), _TREES, ids=[f"{path[:30]}" for _, path, _ in _TREES])
async def test_a_route_is_named_by_its_template_and_those_of_its_mounts(
    app: Any, path: str, name: str, root_path: str
) -> None:
    assert await _names(app, [path], root_path) == [name]


_HOSTILE = [
    "007",
    "1.50",
    "00001.0",
    str(uuid.UUID(int=0xABCDEF)).upper(),
    "a/b/c",
    "{n}",
    "{path}",
    "..",
    "%2f",
    "\x1b[31m",
    "\r\n",
    "\u2028",
    "x" * 65_536,
    "0" * 4_000,
]


@pytest.mark.parametrize("kind", ["str", "int", "float", "uuid", "path"])
async def test_no_value_makes_a_name(kind: str) -> None:
    async def nothing(*_: Any) -> Any:
        return {"type": "http.request"}

    spy = _Spy(Starlette(routes=[Mount(f"/n/{{mounted:{kind}}}", _PLAIN)]))
    for mounted, own in itertools.product(_HOSTILE, _HOSTILE):
        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": f"/n/{mounted}/orders/{own}", "headers": []}
        await spy(scope, nothing, nothing)
    assert set(spy.seen) <= {"GET /n/{mounted}/orders/{id}", "GET /n/{mounted}", UNMATCHED_ROUTE}


async def test_an_application_that_is_mounted_in_itself_has_a_bounded_number_of_names() -> None:
    app = Starlette(routes=[Route("/orders", _answer)])
    app.mount("/x", app)
    assert len(set(await _names(app, ["/x" * depth + "/orders" for depth in range(60)]))) < 30


@pytest.mark.parametrize("by_hand", [False, True], ids=["setup_db", "ASGIHTTPDBSessionMiddleware"])
async def test_hostile_requests_share_one_route(connection: DBConnect, by_hand: bool) -> None:
    async def endpoint(_request: Request) -> Response:
        await run(connection, "SELECT 1")
        return PlainTextResponse("")

    recorder = Recorder()
    app: Any = Starlette(routes=[Mount("/n/{n:int}", routes=[Route("/orders", endpoint)])])
    if by_hand:
        app = ASGIHTTPDBSessionMiddleware(app, connections=[connection], observers=[recorder])
    else:
        setup_db(app, [connection], observers=[recorder])
    async with under_uvicorn(app) as port, aiohttp.ClientSession() as client:
        for zeroes in (0, 1, 2, 50, 4_000):
            async with client.get(f"http://127.0.0.1:{port}/n/{'0' * zeroes}7/orders") as response:
                assert response.status == 200
    assert {context.route for context in recorder.contexts} == {"GET /n/{n}/orders"}


async def test_a_websocket_is_named_by_its_template(connection: DBConnect) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await run(connection, "SELECT 1")
        await websocket.accept()
        await websocket.close()

    recorder, inner, app = Recorder(), Starlette(), Starlette()
    inner.router.add_websocket_route("/rooms/{room}", endpoint)
    app.mount("/n/{n:int}", inner)
    setup_db(app, [connection], observers=[recorder])
    async with under_uvicorn(app) as port, aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{port}/n/007/rooms/1"
        async with client.ws_connect(url) as websocket:
            await websocket.receive()
    assert {context.route for context in recorder.contexts} == {"GET /n/{n}/rooms/{room}"}
