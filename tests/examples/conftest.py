"""The shop that the tests use: on aiohttp, in a schema of its own, with payments that take no time."""

from collections.abc import AsyncGenerator

import pytest
from pytest_aiohttp import AiohttpClient

from context_async_sqlalchemy import DBConnect
from examples.shop.aiohttp_app import create_app
from examples.shop.database import open_database
from examples.shop.domain import Shop
from tests.examples.support import Client, GatedPayments


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


@pytest.fixture
async def client(shop: Shop, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(create_app(shop))
