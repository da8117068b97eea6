"""The names of routes on Quart, Litestar and Falcon."""

import logging
import re
from collections.abc import Iterable
from functools import partial
from typing import Any

import aiohttp
import falcon.asgi
import pytest
import yarl
from litestar import Litestar, Request, Router, WebSocket, asgi
from litestar import get as litestar_get
from litestar import websocket as litestar_websocket
from quart import Quart
from quart import websocket as quart_websocket
from starlette.responses import PlainTextResponse

from context_async_sqlalchemy import DBConnect, setup_db
from context_async_sqlalchemy.observer import UNMATCHED_ROUTE
from tests.conformance.statements import run
from tests.support.asgi_servers import Serve, under_hypercorn, under_uvicorn
from tests.support.hostile import MARK, hostile_requests, send_all
from tests.support.recorder import Recorder
from tests.support.waiting import until


def _quart(connection: DBConnect) -> Any:
    app = Quart("quart_app")

    async def endpoint(number: int) -> str:
        await run(connection, "SELECT 1")
        return str(number)

    async def room(number: int) -> None:
        await run(connection, "SELECT 1")
        await quart_websocket.accept()  # pyright: ignore[reportUnknownMemberType] - Quart's own type is open
        await quart_websocket.send(str(number))

    app.add_url_rule("/orders/<int:number>", view_func=endpoint)
    app.add_websocket("/rooms/<int:number>", view_func=room)
    return app


def _litestar(connection: DBConnect) -> Any:
    @litestar_get("/orders/{number:int}")
    async def endpoint(request: Request[Any, Any, Any]) -> str:
        await run(connection, "SELECT 1")
        return str(request.path_params["number"])

    @litestar_websocket("/rooms/{number:int}")
    async def room(socket: WebSocket[Any, Any, Any]) -> None:
        await run(connection, "SELECT 1")
        await socket.accept()
        await socket.send_text(str(socket.path_params["number"]))
        await socket.close()

    return Litestar([endpoint, room])


def _falcon(connection: DBConnect) -> Any:
    class Order:
        async def on_get(self, _req: object, resp: falcon.asgi.Response, number: int) -> None:
            await run(connection, "SELECT 1")
            resp.text = str(number)

    class Room:
        async def on_websocket(self, _req: object, socket: falcon.asgi.WebSocket, number: int) -> None:
            await run(connection, "SELECT 1")
            await socket.accept()
            await socket.send_text(str(number))
            await socket.close()

    app: Any = falcon.asgi.App()
    app.add_route("/orders/{number:int}", Order())
    app.add_route("/rooms/{number:int}", Room())
    return app


@pytest.mark.parametrize(
    "serve",
    [under_uvicorn, partial(under_uvicorn, http="h11"), under_hypercorn],
    ids=["uvicorn", "uvicorn-h11", "hypercorn"],
)
@pytest.mark.parametrize(
    ("make", "parameter"),
    [(_quart, "<int:number>"), (_litestar, "{number}"), (_falcon, "{number:int}")],
    ids=["quart", "litestar", "falcon"],
)
async def test_requests_and_websockets_are_named_by_their_templates(
    serve: Serve, connection: DBConnect, make: Any, parameter: str
) -> None:
    recorder, app = Recorder(), make(connection)
    setup_db(app, [connection], observers=[recorder])
    async with serve(app, 5) as port, aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{port}"
        for number in ("7", "07"):
            async with client.get(f"{url}/orders/{number}") as response:
                assert response.status == 200
        async with client.ws_connect(f"{url}/rooms/007") as websocket:
            assert await websocket.receive_str() == "7"
        await until(lambda: len(recorder.contexts) == 3, "the contexts have ended")
    names = [f"GET /orders/{parameter}"] * 2 + [f"GET /rooms/{parameter}"]
    assert [context.route for context in recorder.contexts] == names
    assert [checkout.route for checkout in recorder.checkouts] == names


def _quart_of_items(connection: DBConnect) -> Any:
    app = Quart("quart_app")

    async def endpoint(**_parameters: object) -> str:
        await run(connection, "SELECT 1")
        return ""

    for kind in _KINDS["quart"]:
        app.add_url_rule(f"/{kind}/<{kind}:item>", kind, endpoint, methods=["GET", "POST", "BREW"])
    return app


def _litestar_of_items(connection: DBConnect) -> Any:
    @litestar_get([f"/{kind}/{{item:{kind}}}" for kind in _KINDS["litestar"]])
    async def endpoint() -> str:
        await run(connection, "SELECT 1")
        return ""

    return Litestar([endpoint])


def _falcon_of_items(connection: DBConnect) -> Any:
    class Item:
        async def on_get(self, _req: object, resp: falcon.asgi.Response, **_parameters: object) -> None:
            await run(connection, "SELECT 1")
            resp.text = ""

    app: Any = falcon.asgi.App()
    for kind in _KINDS["falcon"]:
        app.add_route(f"/{kind}/{{item:{kind}}}", Item())
    return app


_KINDS = {
    "quart": ["int", "float", "uuid", "string", "path"],
    "litestar": ["int", "float", "uuid", "str", "path"],
    "falcon": ["int", "float", "uuid", "path"],
}


@pytest.mark.parametrize("serve", [under_uvicorn, partial(under_uvicorn, http="h11")], ids=["uvicorn", "uvicorn-h11"])
@pytest.mark.parametrize(
    ("framework", "make"),
    [("quart", _quart_of_items), ("litestar", _litestar_of_items), ("falcon", _falcon_of_items)],
    ids=_KINDS,
)
async def test_a_client_cannot_name_a_route(
    serve: Serve, connection: DBConnect, framework: str, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, app = Recorder(), make(connection)
    setup_db(app, [connection], observers=[recorder])
    with caplog.at_level(logging.DEBUG, logger="context_async_sqlalchemy"):
        async with serve(app, 5) as port:
            for kind in _KINDS[framework]:
                await send_all(port, hostile_requests(f"/{kind}/"))
    routes = {checkout.route for checkout in recorder.checkouts} | {each.route for each in recorder.contexts}
    # Each template, with the methods that HTTP knows and one for the rest.
    assert len(routes) <= len(_KINDS[framework]) * 4 + 1, routes
    assert {route.split("/")[1] for route in routes - {UNMATCHED_ROUTE}} == set(_KINDS[framework])
    messages = [record.getMessage() for record in caplog.records if record.name == "context_async_sqlalchemy"]
    for text in (*routes, *messages):
        assert MARK not in text, text
        assert text.isprintable(), text


async def test_on_quart_a_hook_before_the_view_has_the_name_too(connection: DBConnect) -> None:
    recorder, app = Recorder(), _quart(connection)

    async def refuse() -> tuple[str, int]:
        await run(connection, "SELECT 1")
        return "refused", 403

    app.before_request(refuse)
    setup_db(app, [connection], observers=[recorder])
    async with under_uvicorn(app) as port, aiohttp.ClientSession() as client:
        for path in ("/orders/7", "/none"):
            async with client.get(f"http://127.0.0.1:{port}{path}") as response:
                assert response.status == 403
    assert [context.route for context in recorder.contexts] == ["GET /orders/<int:number>", "unmatched"]


async def _ask(app: Any, paths: Iterable[str]) -> None:
    async with under_uvicorn(app) as port, aiohttp.ClientSession() as client:
        for path in paths:
            async with client.get(yarl.URL(f"http://127.0.0.1:{port}{path}", encoded=True)) as response:
                assert response.status == 200


async def test_a_mount_of_litestar_is_named_by_its_path(connection: DBConnect) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await run(connection, "SELECT 1")
        await PlainTextResponse("")(scope, receive, send)

    @litestar_get("/")
    async def root() -> str:
        await run(connection, "SELECT 1")
        return ""

    deep = asgi("/deep", is_mount=True, copy_scope=True)(answer)
    twice = asgi(["/first", "/second"], is_mount=True, copy_scope=True)(answer)
    app, recorder = Litestar([root, Router("/api", route_handlers=[deep]), twice]), Recorder()
    setup_db(app, [connection], observers=[recorder])
    await _ask(app, ["/api/deep", "/api/deep/1", "/api/deep/%0d%0a/2", "/first/1", "/second/first/1", "/"])
    names = ["GET /api/deep"] * 3 + ["GET /first", "GET /second", "GET /"]
    assert [context.route for context in recorder.contexts] == names


async def test_a_sink_of_falcon_is_named_by_its_prefix(connection: DBConnect) -> None:
    async def sink(_req: object, resp: falcon.asgi.Response, **_parameters: str) -> None:
        await run(connection, "SELECT 1")
        resp.text = ""

    app, recorder = _falcon(connection), Recorder()
    app.add_sink(sink, "/files")
    setup_db(app, [connection], observers=[recorder])
    app.add_sink(sink, re.compile(r"/files/(?P<name>\d+)"))
    await _ask(app, ["/files", "/files/a/b", "/files/7", "/files/007", "/files/%0d%0a", "/orders/1"])
    names = ["GET /files"] * 2 + [r"GET /files/(?P<name>\d+)"] * 2 + ["GET /files", "GET /orders/{number:int}"]
    assert [context.route for context in recorder.contexts] == names
