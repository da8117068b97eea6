"""Tests of other frameworks: with httpx, with Starlette's client in a thread, and with sanic-testing."""

from typing import Any

import httpx
from sanic import HTTPResponse, Request, Sanic
from sanic import json as json_response
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from context_async_sqlalchemy import setup_db
from tests.adapters.pytest.inside import shop


def _starlette() -> Starlette:
    connection = shop.connect()

    async def create_order(_request: StarletteRequest) -> PlainTextResponse:
        await shop.pay_late(connection)
        return PlainTextResponse("")

    app = Starlette(routes=[Route("/orders/{id}", create_order, methods=["POST"])])
    setup_db(app, [connection])
    return app


def _sanic(name: str) -> Any:
    connection = shop.connect()
    app = Sanic(name)

    @app.post("/orders/<id>")
    async def create_order(_request: Request, id: str) -> HTTPResponse:  # noqa: A002, ARG001 - Sanic's way
        await shop.pay_late(connection)
        return json_response({})

    setup_db(app, [connection])
    return app


async def test_httpx() -> None:
    transport = httpx.ASGITransport(_starlette())
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        assert (await client.post("/orders/7")).status_code == 200


def test_starlette_client() -> None:
    # Untyped, because its types name a client that is not installed.
    test_client: Any = TestClient(_starlette())
    with test_client as client:
        assert client.post("/orders/7").status_code == 200


async def test_sanic_asgi_client() -> None:
    _, response = await _sanic("asgi").asgi_client.post("/orders/7")
    assert response.status == 200


def test_sanic_client() -> None:
    _, response = _sanic("server").test_client.post("/orders/7")
    assert response is not None
    assert response.status == 200
