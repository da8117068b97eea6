"""Who may scrape: strangers get an empty answer, and start no rendering, on every framework."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.conformance.driver import Driver, Exchange, Reply, Setup

TOKEN = "c2NyYXBlLW1l.-_~+/=="  # noqa: S105 - of the test


class _Counted(PrometheusObserver):
    def __init__(self) -> None:
        super().__init__(CollectorRegistry())
        self.renderings = 0

    def expose(self, accept: str, accept_encoding: str) -> Any:
        self.renderings += 1
        return super().expose(accept, accept_encoding)


@asynccontextmanager
async def _scraped(driver: Driver, observer: _Counted, access: object) -> AsyncGenerator[aiohttp.ClientSession]:
    async def handler(_exchange: Exchange) -> Reply:
        return Reply()

    setup = Setup(handler, [], {"observers": [observer], "metrics_access": access})
    async with driver.serving(setup) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        yield client


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_token_is_asked_for(driver: Driver, method: str) -> None:
    observer = _Counted()
    wrong: list[dict[str, str]] = [
        {},
        *({"Authorization": value} for value in ("", TOKEN, "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}=")),
        {"Authorization": "Bearer \u00fc"},
        {"X-Authorization": f"Bearer {TOKEN}"},
    ]
    async with _scraped(driver, observer, TOKEN) as client:
        for headers in wrong:
            async with client.request(method, "/metrics", headers=headers) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert await response.read() == b""
        assert observer.renderings == 0
        for scheme in ("Bearer", "bearer"):
            async with client.request(method, "/metrics", headers={"Authorization": f"{scheme} {TOKEN}"}) as response:
                assert response.status == 200
                assert (b"db_session" in await response.read()) == (method == "GET")


async def test_a_function_of_the_headers_decides(driver: Driver) -> None:
    def allows(headers: Mapping[str, str]) -> bool:
        return headers.get("x-scraper") == "ours"

    observer = _Counted()
    async with _scraped(driver, observer, allows) as client:
        for scraper in ("", "theirs"):
            async with client.get("/metrics", headers={"X-Scraper": scraper}) as response:
                assert response.status == 403
                assert await response.read() == b""
        assert observer.renderings == 0
        async with client.get("/metrics", headers={"X-Scraper": "ours"}) as response:
            assert response.status == 200
            assert "db_session" in await response.text()
