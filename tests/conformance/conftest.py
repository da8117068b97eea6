"""The frameworks that the cases run on; a new one is a line here."""

import pytest

from context_async_sqlalchemy import DBConnect
from tests.conformance.aiohttp_driver import AiohttpDriver
from tests.conformance.asgi_driver import (
    FastAPIHypercornDriver,
    FastAPIUvicornDriver,
    StarletteHypercornDriver,
    StarletteUvicornDriver,
)
from tests.conformance.driver import Driver
from tests.conformance.sanic_driver import SanicDriver
from tests.conformance.service import Service
from tests.support.database import Database

DRIVERS: list[type[Driver]] = [
    AiohttpDriver,
    FastAPIHypercornDriver,
    FastAPIUvicornDriver,
    SanicDriver,
    StarletteHypercornDriver,
    StarletteUvicornDriver,
]


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.name)
def driver(request: pytest.FixtureRequest) -> Driver:
    """Run the case on each framework."""
    driver: Driver = request.param()
    return driver


@pytest.fixture
def service(driver: Driver, connection: DBConnect, database: Database) -> Service:
    """Give the case a service to start."""
    return Service(driver, connection, database)
