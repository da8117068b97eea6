"""The frameworks that the cases run on; a new one is a line here."""

from collections.abc import AsyncGenerator

import pytest

from context_async_sqlalchemy import DBConnect
from tests.conformance.aiohttp_driver import AiohttpDriver
from tests.conformance.driver import Driver
from tests.conformance.service import Service
from tests.support.database import APPLICATION_NAME, Database

DRIVERS: list[type[Driver]] = [AiohttpDriver]


def connect_to(url: str, *, name: str = "main", pool_size: int = 2) -> DBConnect:
    """Make a connection with a small pool that does not wait long."""
    return DBConnect.from_url(
        url,
        name=name,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        connect_args={"server_settings": {"application_name": APPLICATION_NAME}},
    )


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.name)
def driver(request: pytest.FixtureRequest) -> Driver:
    """Run the case on each framework."""
    driver: Driver = request.param()
    return driver


@pytest.fixture
async def connection(database: Database) -> AsyncGenerator[DBConnect]:
    """Give the handlers of a case their database."""
    connection = connect_to(database.url)
    yield connection
    await connection.close()


@pytest.fixture
def service(driver: Driver, connection: DBConnect, database: Database) -> Service:
    """Give the case a service to start."""
    return Service(driver, connection, database)
