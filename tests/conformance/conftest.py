"""The frameworks that the cases run on, and what stands around their handlers; a new one is a line here."""

import pytest

from context_async_sqlalchemy import DBConnect
from tests.conformance.aiohttp_driver import AiohttpDriver
from tests.conformance.asgi_driver import FastAPIDriver, StarletteDriver
from tests.conformance.driver import Driver
from tests.conformance.example_driver import ExampleDriver
from tests.conformance.sanic_driver import SanicDriver
from tests.conformance.service import Service
from tests.support.database import Database

Place = tuple[type[Driver], str]
"""A framework, and a name of its ``SURROUNDINGS``."""

PLACES: list[Place] = [
    (AiohttpDriver, ""),
    (ExampleDriver, ""),
    (FastAPIDriver, "hypercorn"),
    (FastAPIDriver, "uvicorn"),
    (SanicDriver, ""),
    (StarletteDriver, "hypercorn"),
    (StarletteDriver, "uvicorn"),
]
"""Every case runs in these."""

_ENDS = {"test_commit_before_response", "test_status_decides"}
_CONTEXTS = {"test_nothing_held_unused", "test_observed", "test_one_session"}
OTHER_PLACES: dict[Place, set[str]] = {
    (AiohttpDriver, "clones"): _ENDS | _CONTEXTS | {"test_retried"},
    (AiohttpDriver, "sub-application-under-clones"): _CONTEXTS | {"test_commit_before_response"},
    (AiohttpDriver, "error-mappers"): _ENDS | {"test_always_finished"},
    (FastAPIDriver, "base-http-middleware-outside"): _ENDS,
    (FastAPIDriver, "mounted-application-h11"): _CONTEXTS | {"test_outlived_context"},
    (FastAPIDriver, "pipelined"): {"test_commit_before_response", "test_one_session"},
    (FastAPIDriver, "yield-dependencies-h11"): _ENDS | _CONTEXTS,
    (SanicDriver, "asgi"): {"test_commit_before_response", "test_one_session", "test_outlived_context"},
    (SanicDriver, "asgi-blueprints"): _ENDS | {"test_several_connections"},
    (SanicDriver, "blueprints"): _CONTEXTS | {"test_commit_before_response"},
    (SanicDriver, "early-answers"): _ENDS,
    (SanicDriver, "ext"): _ENDS,
    (StarletteDriver, "base-http-middleware-inside-h11"): _ENDS | {"test_always_finished"},
    (StarletteDriver, "parametrised-mount-hypercorn"): _CONTEXTS | {"test_commit_before_response"},
    (StarletteDriver, "pipelined-h11"): {"test_one_session", "test_status_decides"},
}
"""The rules that run within further surroundings: those that the surroundings might break."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the case in each place."""
    if "driver" in metafunc.fixturenames:
        module = metafunc.definition.path.stem
        others = {} if metafunc.config.getoption("bare_applications") else OTHER_PLACES
        places = [*PLACES, *(place for place, modules in others.items() if module in modules)]
        ids = [driver(surroundings).name for driver, surroundings in places]
        metafunc.parametrize("driver", places, indirect=True, ids=ids)


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> Driver:
    """Make the driver of the case's framework."""
    driver_class, surroundings = request.param
    driver: Driver = driver_class(surroundings)
    return driver


@pytest.fixture
def service(driver: Driver, connection: DBConnect, database: Database) -> Service:
    """Give the case a service to start."""
    return Service(driver, connection, database)
