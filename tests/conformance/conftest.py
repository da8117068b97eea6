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
from tests.conformance.example_driver import ExampleDriver
from tests.conformance.sanic_driver import ExtendedSanicDriver, SanicDriver
from tests.conformance.service import Service
from tests.support.database import Database

DRIVERS: list[type[Driver]] = [
    AiohttpDriver,
    ExampleDriver,
    FastAPIHypercornDriver,
    FastAPIUvicornDriver,
    SanicDriver,
    StarletteHypercornDriver,
    StarletteUvicornDriver,
]
# What Sanic Extensions add to requests and responses could come between these rules and the application.
EXTENDED_MODULES = {"test_commit_before_response", "test_status_decides"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the case on each framework."""
    if "driver" in metafunc.fixturenames:
        is_extended = metafunc.definition.path.stem in EXTENDED_MODULES
        drivers = [*DRIVERS, ExtendedSanicDriver] if is_extended else DRIVERS
        metafunc.parametrize("driver", drivers, indirect=True, ids=lambda driver: driver.name)


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> Driver:
    """Make the driver of the case's framework."""
    driver: Driver = request.param()
    return driver


@pytest.fixture
def service(driver: Driver, connection: DBConnect, database: Database) -> Service:
    """Give the case a service to start."""
    return Service(driver, connection, database)
