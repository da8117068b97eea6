"""The shop that the tests use: on each framework, in a schema of its own, with payments that take no time."""

import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from sanic import Sanic

from context_async_sqlalchemy import DBConnect
from examples.shop import aiohttp_app, sanic_app
from examples.shop.database import open_database
from examples.shop.domain import Shop
from tests.docs.examples.support import Client, GatedPayments

_MISTAKES = (
    # A limit that also a busy machine keeps.
    pytest.mark.db_held_idle(max=20),
    pytest.mark.db_nested_checkouts(max=0),
    pytest.mark.db_late_tasks(max=0),
    pytest.mark.db_unclosed_contexts(max=0),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let an example that makes a mistake fail, unless its test says that this is its purpose."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            for mark in _MISTAKES:
                if item.get_closest_marker(mark.name) is None:
                    item.add_marker(mark)


@pytest.fixture
async def connection(database_url: str) -> AsyncGenerator[DBConnect]:
    async with open_database(database_url) as connection:
        yield connection


@pytest.fixture
def payments(connection: DBConnect) -> GatedPayments:
    return GatedPayments(connection)


@pytest.fixture
def shop(connection: DBConnect, payments: GatedPayments) -> Shop:
    return Shop(connection, payments)


@pytest.fixture(params=["aiohttp", "sanic"])
async def client(shop: Shop, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Client]:
    """Serve the shop on each framework."""
    # Sanic rewrites its own methods at start, and cannot do so twice in one process; nor use a name twice.
    monkeypatch.setenv("SANIC_TOUCHUP", "false")
    monkeypatch.setattr(Sanic, "test_mode", True)
    serving = {"aiohttp": aiohttp_app.serving, "sanic": sanic_app.serving}[request.param]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with serving(shop, listener), Client(url) as client:
            yield client
