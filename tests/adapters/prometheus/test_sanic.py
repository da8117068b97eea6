"""/metrics on a Sanic application."""

import itertools
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from sanic import HTTPResponse, Request, Sanic, response
from sanic.exceptions import Unauthorized
from sanic_routing.exceptions import RouteExists

from context_async_sqlalchemy import DBConnect, setup_db
from context_async_sqlalchemy.adapter_kit import DEFAULT_METRICS_PATH
from context_async_sqlalchemy.observer import Observer
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.adapters.prometheus.scraping import check_formats, measure

AnyRequest = Request[Any, Any]
_numbers = itertools.count()


@pytest.fixture
def app() -> Generator[Any]:
    app: Any = Sanic(f"scraped-{next(_numbers)}", configure_logging=False)
    app.config.TOUCHUP = False
    yield app
    app.unregister_app(app)


@asynccontextmanager
async def _serving(app: Any, **options: Any) -> AsyncGenerator[aiohttp.ClientSession]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = await app.create_server(sock=listener, return_asyncio_server=True, access_log=False)
    await server.startup()
    await server.before_start()
    await server.after_start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.getsockname()[1]}", **options) as client:
            yield client
    finally:
        await server.before_stop()
        server.close()
        app.set_serving(False)
        await server.after_stop()


async def _answer(_request: AnyRequest, **_: str) -> HTTPResponse:
    return response.text("the application's own")


async def test_it_is_scraped_in_the_format_that_is_accepted(app: Any, observer: PrometheusObserver) -> None:
    setup_db(app, [], observers=[Observer(), observer])
    measure(observer)
    async with _serving(app) as client:
        async with client.get("/metrics") as answer:
            url = str(answer.url)
        await check_formats(url)


async def test_the_path_can_be_chosen(app: Any, observer: PrometheusObserver) -> None:
    setup_db(app, [], observers=[observer], metrics_path="/internal/metrics")
    async with _serving(app) as client, client.get("/internal/metrics") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(("is_observed", "path"), [(True, None), (False, DEFAULT_METRICS_PATH)])
def test_without_a_path_or_something_to_scrape_there_is_no_route(
    app: Any, observer: PrometheusObserver, is_observed: bool, path: str | None
) -> None:
    setup_db(app, [], observers=[observer] if is_observed else [Observer()], metrics_path=path)
    assert not app.router.routes


def test_a_path_without_a_slash_is_refused(app: Any, observer: PrometheusObserver) -> None:
    with pytest.raises(ValueError, match="begins with a slash"):
        setup_db(app, [], observers=[observer], metrics_path="metrics")


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
def test_a_path_that_is_taken_is_refused(app: Any, observer: PrometheusObserver, path: str) -> None:
    app.add_route(_answer, path)
    with pytest.raises(RuntimeError, match="serves metrics at /metrics, but the application has a route there too"):
        setup_db(app, [], observers=[observer])
    setup_db(app, [], observers=[observer], metrics_path="/pool-metrics")


def test_a_path_that_is_taken_later_is_refused_by_sanic(app: Any, observer: PrometheusObserver) -> None:
    setup_db(app, [], observers=[observer])
    with pytest.raises(RouteExists, match="metrics"):
        app.add_route(_answer, "/metrics")


async def test_other_methods_and_dynamic_routes_are_no_rivals(app: Any, observer: PrometheusObserver) -> None:
    app.add_route(_answer, "/<anything:path>", name="before")
    app.add_route(_answer, "/metrics", methods=["POST"], name="posted")
    setup_db(app, [], observers=[observer])
    async with _serving(app) as client:
        async with client.get("/metrics") as answer:
            assert "db_session" in await answer.text()
        async with client.post("/metrics") as answer:
            assert await answer.text() == "the application's own"


async def test_middlewares_apply(app: Any, observer: PrometheusObserver) -> None:
    async def authorize(request: AnyRequest) -> None:
        if "Authorization" not in request.headers:
            raise Unauthorized

    app.register_middleware(authorize, "request")
    setup_db(app, [], observers=[observer])
    async with _serving(app) as client:
        async with client.get("/metrics") as answer:
            assert answer.status == 401
        async with client.get("/metrics", headers={"Authorization": "Bearer x"}) as answer:
            assert answer.status == 200


async def test_a_scrape_takes_no_connection(app: Any, observer: PrometheusObserver, connection: DBConnect) -> None:
    setup_db(app, [connection], observers=[observer])
    async with _serving(app) as client, client.get("/metrics") as answer:
        assert answer.status == 200
        assert connection.engine is None
