"""``metrics_access``: its values, and a function that fails. The conformance suite has each framework."""

import logging
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from falcon.asgi import App as Falcon
from fastapi import Depends, FastAPI, HTTPException
from litestar import Litestar
from pytest_aiohttp.plugin import AiohttpClient
from quart import Quart
from starlette.applications import Starlette

from context_async_sqlalchemy import ASGIHTTPDBSessionMiddleware, setup_db
from context_async_sqlalchemy.adapter_kit import Lifecycle
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.support.asgi_servers import under_uvicorn

SECRET = "marked-secret"  # noqa: S105 - looked for in messages


def _set_up(app: Any, observer: PrometheusObserver) -> Any:
    setup_db(app, [], observers=[observer], metrics_access=SECRET)
    return app


@pytest.mark.parametrize(
    "make", [lambda: Quart("scraped"), Litestar, Falcon, None], ids=["quart", "litestar", "falcon", "asgi"]
)
async def test_it_closes_the_metrics_of_the_other_frameworks(make: Any, observer: PrometheusObserver) -> None:
    app = (
        ASGIHTTPDBSessionMiddleware(Starlette(), observers=[observer], metrics_path="/metrics", metrics_access=SECRET)
        if make is None
        else _set_up(make(), observer)
    )
    async with under_uvicorn(app) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        async with client.get("/metrics") as response:
            assert (response.status, await response.read()) == (401, b"")
        async with client.get("/metrics", headers={"Authorization": f"Bearer {SECRET}"}) as response:
            assert response.status == 200
            assert "db_session" in await response.text()


@pytest.mark.parametrize(("access", "status"), [(None, 200), (SECRET, 401)])
async def test_fastapis_dependencies_do_not_close_it(
    observer: PrometheusObserver, access: str | None, status: int
) -> None:
    def refuse() -> None:
        raise HTTPException(401)

    app = FastAPI(dependencies=[Depends(refuse)])
    setup_db(app, [], observers=[observer], metrics_access=access)
    async with under_uvicorn(app) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/metrics")).status == status


@pytest.mark.parametrize(
    "wrong", ["", " ", "two words", f"Bearer {SECRET}", f"{SECRET}\n", "tökén", SECRET.encode(), 7]
)
def test_what_is_no_token_is_refused_and_not_shown(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"metrics_access is .*bearer token") as refused:
        setup_db(web.Application(), [], metrics_access=wrong)
    assert SECRET not in str(refused.value)


def test_an_asynchronous_function_is_refused() -> None:
    async def allows(_headers: Mapping[str, str]) -> bool:
        return True

    class Allows:
        async def __call__(self, _headers: Mapping[str, str]) -> bool:
            return True

    for wrong in (allows, Allows()):
        with pytest.raises(TypeError, match="pass one that returns a bool"):
            setup_db(web.Application(), [], metrics_access=wrong)  # type: ignore[arg-type]


def test_the_token_is_in_no_repr(observer: PrometheusObserver) -> None:
    lifecycle = Lifecycle([], observers=[observer], metrics_access=SECRET)
    (metrics,) = lifecycle.resources("/metrics")
    for shown in (lifecycle, metrics, *vars(lifecycle).values()):
        assert SECRET not in repr(shown)


@pytest.mark.parametrize("is_raised", [True, False])
async def test_a_function_that_fails_lets_nobody_in_and_says_so_once(
    observer: PrometheusObserver, is_raised: bool, aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    def allows(headers: Mapping[str, str]) -> Any:
        if is_raised:
            raise ValueError(headers["authorization"])
        return headers["authorization"]

    app = web.Application()
    setup_db(app, [], observers=[observer], metrics_access=allows)
    client = await aiohttp_client(app)
    for _ in range(2):
        response = await client.get("/metrics", headers={"Authorization": SECRET})
        assert (response.status, await response.read()) == (403, b"")
    what = "raised ValueError" if is_raised else "returned an object of type str, and not a bool"
    records = [record for record in caplog.records if record.name == "context_async_sqlalchemy"]
    assert [(record.levelno, record.message) for record in records] == [
        (logging.ERROR, f"metrics_access {what}: the scrape is answered by 403; this is said once")
    ]
    assert SECRET not in caplog.text
