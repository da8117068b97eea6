"""The frameworks that the cases run on; a new one is a line here."""

import pytest

from context_async_sqlalchemy import DBConnect
from tests.conformance.aiohttp_driver import AiohttpDriver, CloningAiohttpDriver
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
# What Sanic Extensions add to requests and responses could come between these rules and the application. So could a
# middleware of aiohttp that clones the request.
EXTENDED_MODULES = {"test_commit_before_response", "test_status_decides"}
CLONING_MODULES = EXTENDED_MODULES | {"test_one_session", "test_retried"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the case on each framework."""
    if "driver" in metafunc.fixturenames:
        module = metafunc.definition.path.stem
        drivers = [*DRIVERS]
        if module in EXTENDED_MODULES:
            drivers.append(ExtendedSanicDriver)
        if module in CLONING_MODULES:
            drivers.append(CloningAiohttpDriver)
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
