"""/metrics on ASGI applications."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import falcon.asgi
import httpx
import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar
from litestar import get as litestar_get
from litestar import post as litestar_post
from litestar.exceptions import ImproperlyConfiguredException
from prometheus_client import CollectorRegistry
from quart import Quart
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from context_async_sqlalchemy import ASGIHTTPDBSessionMiddleware, DBConnect, setup_db
from context_async_sqlalchemy.adapter_kit import DEFAULT_METRICS_PATH
from context_async_sqlalchemy.observer import ContextRecord, Observer
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.adapters.prometheus.scraping import check_formats, measure
from tests.support.asgi_servers import under_uvicorn

MakeApp = Callable[..., Any]
"""Makes an application that answers one method at one path, if there is one."""


async def _answer(_request: Request) -> Response:
    return PlainTextResponse("the application's own")


def _starlette(path: str = "", method: str = "GET") -> Starlette:
    return Starlette(routes=[Route(path, _answer, methods=[method])] if path else [])


def _fastapi(path: str = "", method: str = "GET") -> FastAPI:
    app, router = FastAPI(), APIRouter()
    if path:
        router.add_api_route(path, _answer, methods=[method], response_model=None)
    app.include_router(router)
    return app


def _quart(path: str = "", method: str = "GET") -> Quart:
    app = Quart("scraped")

    async def answer(**_: str) -> str:
        return "the application's own"

    if path:
        app.add_url_rule(path.replace("{", "<").replace("}", ">"), "own", answer, methods=[method])
    return app


def _litestar(path: str = "", method: str = "GET") -> Litestar:
    async def answer() -> str:
        return "the application's own"

    decorate = litestar_get if method == "GET" else litestar_post
    return Litestar([decorate(path.replace("}", ":str}"), media_type="text/plain")(answer)] if path else [])


def _falcon(path: str = "", method: str = "GET") -> Any:
    app: Any = falcon.asgi.App()
    if path:
        app.add_route(path, _falcon_resource(method))
    return app


def _falcon_resource(method: str) -> Any:
    async def answer(_resource: object, _request: object, response: falcon.asgi.Response, **_: str) -> None:
        response.text = "the application's own"

    return type("Own", (), {f"on_{method.lower()}": answer})()


on_every_framework = pytest.mark.parametrize("make", [_starlette, _fastapi, _quart, _litestar, _falcon])


def _client(app: Any, root_path: str = "") -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, root_path=root_path), base_url=f"http://localhost{root_path}"
    )


@on_every_framework
async def test_it_is_scraped_in_the_format_that_is_accepted(make: MakeApp, observer: PrometheusObserver) -> None:
    app = make()
    setup_db(app, [], observers=[Observer(), observer])
    measure(observer)
    async with under_uvicorn(app) as port:
        await check_formats(f"http://127.0.0.1:{port}/metrics")
        async with aiohttp.ClientSession() as client, client.post(f"http://127.0.0.1:{port}/metrics") as response:
            assert response.status == 405


@on_every_framework
async def test_the_path_can_be_chosen(make: MakeApp, observer: PrometheusObserver) -> None:
    app = make("/metrics")
    setup_db(app, [], observers=[observer], metrics_path="/internal/metrics")
    async with _client(app) as client:
        assert "db_session" in (await client.get("/internal/metrics")).text
        assert (await client.get("/metrics")).text == "the application's own"


@on_every_framework
async def test_without_a_path_or_something_to_scrape_there_is_no_route(
    make: MakeApp, observer: PrometheusObserver
) -> None:
    for observers, path in (([observer], None), ([Observer()], DEFAULT_METRICS_PATH), ([], DEFAULT_METRICS_PATH)):
        app = make()
        setup_db(app, [], observers=observers, metrics_path=path)
        async with _client(app) as client:
            assert (await client.get("/metrics")).status_code == 404


@on_every_framework
def test_a_path_that_is_taken_is_refused(make: MakeApp, observer: PrometheusObserver) -> None:
    app = make("/metrics")
    with pytest.raises(RuntimeError, match=r"serves metrics at /metrics, but the application has .* there too"):
        setup_db(app, [], observers=[observer])
    setup_db(app, [], observers=[observer], metrics_path="/pool-metrics")


@on_every_framework
@pytest.mark.parametrize(("path", "method"), [("/metrics", "POST"), ("/{page}", "GET")])
async def test_other_methods_and_dynamic_routes_are_no_rivals(
    make: MakeApp, observer: PrometheusObserver, path: str, method: str
) -> None:
    app = make(path, method)
    if (make, method) == (_falcon, "POST"):
        # Falcon has one resource for all methods of a path.
        with pytest.raises(RuntimeError, match="only one of them would be reached"):
            setup_db(app, [], observers=[observer])
        return
    setup_db(app, [], observers=[observer])
    async with _client(app) as client:
        assert "db_session" in (await client.get("/metrics")).text
        own = await client.request(method, path.replace("{page}", "else"))
        assert own.text == "the application's own"


@pytest.mark.parametrize("mount", [Mount("/metrics", Starlette()), Mount("", routes=[Route("/metrics", _answer)])])
def test_a_path_at_which_something_is_mounted_is_refused(observer: PrometheusObserver, mount: Mount) -> None:
    with pytest.raises(RuntimeError, match="there too"):
        setup_db(Starlette(routes=[mount]), [], observers=[observer])


async def test_a_path_that_is_taken_later_is_refused(observer: PrometheusObserver) -> None:
    app = Starlette()
    setup_db(app, [], observers=[observer])
    app.router.add_route("/metrics", _answer)
    with pytest.raises(RuntimeError, match="only one of them would be reached"):
        async with app.router.lifespan_context(app):
            pass
    litestar = _litestar()
    setup_db(litestar, [], observers=[observer])

    async def answer() -> str:
        return ""

    with pytest.raises(ImproperlyConfiguredException, match="metrics"):
        litestar.register(litestar_get("/metrics")(answer))


def _taken_by_quart(observer: PrometheusObserver, *, at_start: bool) -> Any:
    app = _quart()

    async def take() -> None:
        app.add_url_rule("/metrics", "late", view_func=str)

    setup_db(app, [], observers=[observer])
    if at_start:
        app.before_serving(take)
    else:
        app.add_url_rule("/metrics", "late", view_func=str)
    return app


def _taken_by_falcon(observer: PrometheusObserver, *, at_start: bool) -> Any:
    app = _falcon()

    class Startup:
        async def process_startup(self, _scope: object, _event: object) -> None:
            app.add_route("/metrics", _falcon_resource("GET"))

    setup_db(app, [], observers=[observer])
    if at_start:
        app.add_middleware(Startup())
    else:
        app.add_route("/metrics", _falcon_resource("GET"))
    return app


@pytest.mark.parametrize("at_start", [False, True])
@pytest.mark.parametrize("make", [_taken_by_quart, _taken_by_falcon])
async def test_a_path_that_is_taken_on_quart_or_falcon_stops_the_start(
    observer: PrometheusObserver, make: Callable[..., Any], at_start: bool
) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        assert not sent
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError, match="only one of them would be reached"):
        await make(observer, at_start=at_start)({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    (failed,) = sent
    assert failed["type"] == "lifespan.startup.failed"
    assert "only one of them would be reached" in failed["message"]


@pytest.mark.parametrize("make", [Starlette, FastAPI])
async def test_a_path_that_is_taken_while_the_application_starts_is_refused(
    observer: PrometheusObserver, make: type[Starlette]
) -> None:
    stopped: list[bool] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        app.router.add_route("/metrics", _answer)
        try:
            yield
        finally:
            stopped.append(True)

    app = make(lifespan=lifespan)
    setup_db(app, [], observers=[observer])
    with pytest.raises(RuntimeError, match="only one of them would be reached"):
        async with app.router.lifespan_context(app):
            pytest.fail("the application has started")
    assert stopped == [True]


@on_every_framework
def test_a_path_without_a_slash_and_two_that_can_be_scraped_are_refused(
    make: MakeApp, observer: PrometheusObserver
) -> None:
    with pytest.raises(ValueError, match="begins with a slash"):
        setup_db(make(), [], observers=[observer], metrics_path="metrics")
    with pytest.raises(ValueError, match="several observers can be scraped"):
        setup_db(make(), [], observers=[observer, PrometheusObserver(CollectorRegistry())])


async def test_it_is_in_no_schema(observer: PrometheusObserver) -> None:
    app, litestar = _fastapi("/orders"), _litestar("/orders")
    for each in (app, litestar):
        setup_db(each, [], observers=[observer])
    assert list(app.openapi()["paths"]) == ["/orders"]
    assert list(litestar.openapi_schema.to_schema()["paths"]) == ["/orders"]


async def test_of_a_mounted_application_it_has_the_prefix(observer: PrometheusObserver) -> None:
    app, mounted = Starlette(), FastAPI()
    setup_db(mounted, [], observers=[observer])
    app.mount("/mounted", mounted)
    async with _client(app, root_path="/behind/a/proxy") as client:
        assert "db_session" in (await client.get("/mounted/metrics")).text
        assert (await client.get("/metrics")).status_code == 404


class _Counter(Observer):
    def __init__(self) -> None:
        self.contexts: list[ContextRecord] = []

    def context_began(self, context: ContextRecord) -> None:
        self.contexts.append(context)


@on_every_framework
async def test_a_scrape_opens_no_context_and_takes_no_connection(
    make: MakeApp, observer: PrometheusObserver, connection: DBConnect
) -> None:
    counter, app = _Counter(), make()
    setup_db(app, [connection], observers=[observer, counter])
    async with _client(app) as client:
        assert (await client.get("/metrics")).status_code == 200
    assert counter.contexts == []
    assert connection.engine is None


async def test_any_application_is_served_by_the_middleware_if_it_is_asked_to(observer: PrometheusObserver) -> None:
    app = Starlette(routes=[Route("/{anything:path}", _answer, methods=["GET", "POST"])])
    measure(observer)
    silent = ASGIHTTPDBSessionMiddleware(app, observers=[observer])
    async with _client(silent) as client:
        assert (await client.get("/metrics")).text == "the application's own"
    served = ASGIHTTPDBSessionMiddleware(app, observers=[observer], metrics_path="/metrics")
    async with under_uvicorn(served) as port:
        await check_formats(f"http://127.0.0.1:{port}/metrics")
    async with _client(served) as client:
        assert (await client.post("/metrics")).text == "the application's own"
        assert (await client.get("/metrics/")).text == "the application's own"
    for outside in (served, Starlette(routes=[Mount("/mounted", served)])):
        prefix = "" if outside is served else "/mounted"
        async with _client(outside, root_path="/proxied") as client:
            assert "db_session" in (await client.get(f"{prefix}/metrics")).text
