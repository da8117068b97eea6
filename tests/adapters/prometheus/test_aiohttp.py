"""/metrics on an aiohttp application."""

import asyncio
import threading
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from pytest_aiohttp.plugin import AiohttpClient

from context_async_sqlalchemy import DBConnect, setup_db
from context_async_sqlalchemy.adapter_kit import DEFAULT_METRICS_PATH
from context_async_sqlalchemy.observer import Observer
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.adapters.prometheus.scraping import check_formats, measure
from tests.conformance.statements import write


async def _answer(_request: web.Request) -> web.Response:
    return web.Response(text="the application's own")


async def test_it_is_scraped_in_the_format_that_is_accepted(
    observer: PrometheusObserver, aiohttp_client: AiohttpClient
) -> None:
    app = web.Application()
    setup_db(app, [], observers=[Observer(), observer])
    measure(observer)
    client = await aiohttp_client(app)
    await check_formats(str(client.make_url("/metrics")))
    assert (await client.post("/metrics")).status == 405


async def test_the_path_can_be_chosen(observer: PrometheusObserver, aiohttp_client: AiohttpClient) -> None:
    app = web.Application()
    setup_db(app, [], observers=[observer], metrics_path="/internal/metrics")
    client = await aiohttp_client(app)
    assert (await client.get("/internal/metrics")).status == 200
    assert (await client.get("/metrics")).status == 404


def test_without_a_path_or_something_to_scrape_there_is_no_route(observer: PrometheusObserver) -> None:
    for observers, path in (([observer], None), ([Observer()], DEFAULT_METRICS_PATH), ([], DEFAULT_METRICS_PATH)):
        app = web.Application()
        setup_db(app, [], observers=observers, metrics_path=path)
        assert not app.router.resources()


def test_two_observers_cannot_be_scraped_at_one_path(observer: PrometheusObserver) -> None:
    app, other = web.Application(), PrometheusObserver(CollectorRegistry())
    with pytest.raises(ValueError, match="several observers can be scraped"):
        setup_db(app, [], observers=[observer, other])
    setup_db(app, [], observers=[observer, other], metrics_path=None)


@pytest.mark.parametrize("path", ["metrics", ""])
def test_a_path_without_a_slash_is_refused(observer: PrometheusObserver, path: str) -> None:
    with pytest.raises(ValueError, match="begins with a slash"):
        setup_db(web.Application(), [], observers=[observer], metrics_path=path)


@pytest.mark.parametrize("method", ["GET", "HEAD", "*"])
def test_a_path_that_is_taken_is_refused(observer: PrometheusObserver, method: str) -> None:
    app = web.Application()
    app.router.add_route(method, "/metrics", _answer)
    with pytest.raises(RuntimeError, match=r"serves metrics at /metrics, but the application has .* there too"):
        setup_db(app, [], observers=[observer])
    setup_db(app, [], observers=[observer], metrics_path="/pool-metrics")


def test_a_path_below_which_something_is_mounted_is_refused(observer: PrometheusObserver) -> None:
    app = web.Application()
    app.add_subapp("/metrics", web.Application())
    with pytest.raises(RuntimeError, match="PrefixedSubAppResource"):
        setup_db(app, [], observers=[observer])
    app = web.Application()
    app.router.add_static("/metrics", Path(__file__).parent)
    with pytest.raises(RuntimeError, match="StaticResource"):
        setup_db(app, [], observers=[observer])


async def test_a_path_that_is_taken_later_is_refused_at_the_start(observer: PrometheusObserver) -> None:
    app = web.Application()
    setup_db(app, [], observers=[observer])
    app.router.add_get("/", _answer)
    app.router.add_get("/metrics", _answer)
    runner = web.AppRunner(app)
    with pytest.raises(RuntimeError, match="only one of them would be reached"):
        await runner.setup()
    await runner.cleanup()


async def test_other_methods_and_dynamic_routes_are_no_rivals(
    observer: PrometheusObserver, aiohttp_client: AiohttpClient
) -> None:
    app = web.Application()
    app.router.add_get("/{anything:.*}", _answer)
    app.router.add_post("/metrics", _answer)
    setup_db(app, [], observers=[observer])
    app.router.add_get("/{page}", _answer)
    client = await aiohttp_client(app)
    assert (await client.get("/metrics")).content_type == "text/plain"
    assert "db_session" in await (await client.get("/metrics")).text()
    assert await (await client.post("/metrics")).text() == "the application's own"


async def test_of_a_sub_application_it_has_the_prefix(
    observer: PrometheusObserver, aiohttp_client: AiohttpClient
) -> None:
    app, mounted = web.Application(), web.Application()
    setup_db(mounted, [], observers=[observer])
    app.add_subapp("/mounted", mounted)
    client = await aiohttp_client(app)
    assert (await client.get("/mounted/metrics")).status == 200


async def test_two_applications_show_the_same(observer: PrometheusObserver, aiohttp_client: AiohttpClient) -> None:
    measure(observer)
    bodies: list[str] = []
    for _ in range(2):
        app = web.Application()
        setup_db(app, [], observers=[observer])
        client = await aiohttp_client(app)
        bodies.append(await (await client.get("/metrics")).text())
    assert bodies[0] == bodies[1]


async def test_middlewares_apply_and_may_use_the_database(
    observer: PrometheusObserver, connection: DBConnect, aiohttp_client: AiohttpClient
) -> None:
    @web.middleware
    async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
        await write(connection, "seen")
        if "Authorization" not in request.headers:
            raise web.HTTPUnauthorized
        return await handler(request)

    app = web.Application(middlewares=[authorize])
    setup_db(app, [connection], observers=[observer])
    client = await aiohttp_client(app)
    assert (await client.get("/metrics")).status == 401
    assert (await client.get("/metrics", headers={"Authorization": "Bearer x"})).status == 200


async def test_a_scrape_takes_no_connection(
    observer: PrometheusObserver, connection: DBConnect, aiohttp_client: AiohttpClient
) -> None:
    app = web.Application()
    setup_db(app, [connection], observers=[observer])
    client = await aiohttp_client(app)
    assert (await client.get("/metrics")).status == 200
    assert connection.engine is None


async def test_other_requests_do_not_wait_for_a_scrape(
    observer: PrometheusObserver, monkeypatch: pytest.MonkeyPatch, aiohttp_client: AiohttpClient
) -> None:
    answered = threading.Event()

    async def handler(_request: web.Request) -> web.Response:
        answered.set()
        return web.Response()

    def expose(_accept: str, _accept_encoding: str) -> tuple[list[tuple[str, str]], bytes]:
        return [("X-Answered", str(answered.wait(5)))], b""

    monkeypatch.setattr(observer, "expose", expose)
    app = web.Application()
    app.router.add_get("/", handler)
    setup_db(app, [], observers=[observer])
    client = await aiohttp_client(app)
    scrape, response = await asyncio.gather(client.get("/metrics"), client.get("/"))
    assert response.status == 200
    assert scrape.headers["X-Answered"] == "True"
