"""The inspector on the frameworks that the conformance suite does not run, and below a prefix."""

import itertools
from typing import Any

import pytest
from aiohttp import web
from falcon.asgi import App as Falcon
from litestar import Litestar
from pytest_aiohttp.plugin import AiohttpClient
from quart import Quart
from sanic import Blueprint, Sanic
from starlette.applications import Starlette
from starlette.routing import Mount

from context_async_sqlalchemy import ASGIHTTPDBSessionMiddleware, setup_db
from context_async_sqlalchemy.adapter_kit import Lifecycle
from context_async_sqlalchemy_inspector import Inspector
from tests.adapters.inspector.looking import TOKEN, Visitor, visiting
from tests.support.asgi_servers import under_uvicorn

_numbers = itertools.count()


def _set_up(app: Any) -> Any:
    setup_db(app, [], observers=[Inspector(token=TOKEN)])
    return app


def _middleware() -> Any:
    return ASGIHTTPDBSessionMiddleware(Starlette(), observers=[Inspector(token=TOKEN)])


_MADE = {
    "quart": lambda: _set_up(Quart("inspected")),
    "litestar": lambda: _set_up(Litestar()),
    "falcon": lambda: _set_up(Falcon()),
    "middleware": _middleware,
}


async def _look_around(visitor: Visitor) -> None:
    assert (await visitor.get())[0] == 403
    _, path = await visitor.log_in()
    assert path == visitor.path
    assert [cookie["path"] for cookie in visitor.client.cookie_jar] == [visitor.path]
    assert (await visitor.get("/state.json"))[0] == 200
    for below, folder in (("", b'"_db/'), ("/", b'"')):
        status, _, body = await visitor.get(below)
        # A relative link starts from the folder of the path that the browser sees.
        assert (status, folder + b"app.js" in body) == (200, True)
    async with visitor.client.head(f"{visitor.path}/state.json") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    async with visitor.client.post(f"{visitor.path}/state.json") as answer:
        assert answer.status in (404, 405)


@pytest.mark.parametrize("framework", _MADE)
async def test_it_is_served(framework: str) -> None:
    async with under_uvicorn(_MADE[framework]()) as port, visiting(port) as visitor:
        await _look_around(visitor)


async def test_a_mounted_application_of_starlette_serves_it_below_the_prefix() -> None:
    app = Starlette(routes=[Mount("/shop/{name}", _set_up(Starlette()))])
    async with under_uvicorn(app) as port, visiting(port, "/shop/north/_db") as visitor:
        await _look_around(visitor)


async def test_a_sub_application_of_aiohttp_serves_it_below_the_prefix(aiohttp_client: AiohttpClient) -> None:
    app = web.Application()
    app.add_subapp("/shop", _set_up(web.Application()))
    client = await aiohttp_client(app)
    assert client.port is not None
    async with visiting(client.port, "/shop/_db") as visitor:
        await _look_around(visitor)


@pytest.mark.parametrize("strict", [False, True])
async def test_sanic_serves_it_with_and_without_a_slash(strict: bool) -> None:
    app: Any = Sanic(f"inspected-{next(_numbers)}", configure_logging=False, strict_slashes=strict)
    app.config.TOUCHUP = False
    try:
        async with under_uvicorn(_set_up(app)) as port, visiting(port) as visitor:
            await _look_around(visitor)
    finally:
        app.unregister_app(app)


@pytest.mark.parametrize("make", [web.Application, Starlette, lambda: Quart("taken"), Litestar, Falcon])
def test_two_inspectors_need_two_paths(make: Any) -> None:
    with pytest.raises(ValueError, match="are both '/_db'"):
        setup_db(make(), [], observers=[Inspector(token=TOKEN), Inspector(token=TOKEN)])
    setup_db(make(), [], observers=[Inspector(token=TOKEN), Inspector("/_db2", token=TOKEN)])


@pytest.mark.parametrize("path", ["_db", "", "/", "/_db/"])
def test_a_path_that_cannot_be_served_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="begins with a slash and ends without one"):
        Lifecycle(inspector_path=path)


@pytest.mark.parametrize("path", ["/_db/{x}", "/<x>", "/_db?x", "/_db#1", "/_db\n", "/\x7f"])
def test_a_path_that_some_framework_reads_as_a_pattern_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="has no variable part"):
        Lifecycle(inspector_path=path)


def test_a_route_of_the_application_at_its_path_is_refused() -> None:
    async def answer(_request: Any) -> Any: ...

    app = web.Application()
    app.router.add_get("/_db/state.json", answer)
    with pytest.raises(RuntimeError, match=r"serves the inspector at /_db/state\.json.*choose another inspector_path$"):
        _set_up(app)
    served: Any = Sanic(f"inspected-{next(_numbers)}", configure_logging=False)
    try:
        blueprint: Any = Blueprint("own", url_prefix="/_db")
        blueprint.add_route(answer, "/state.json")
        served.blueprint(blueprint)
        with pytest.raises(RuntimeError, match="choose another inspector_path"):
            _set_up(served)
    finally:
        served.unregister_app(served)
