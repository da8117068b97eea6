"""The frameworks that the cases run on, and what stands around their handlers; a new one is a line here."""

import zlib

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

SURROUNDINGS: list[Place] = [
    (driver, name)
    for driver in (AiohttpDriver, FastAPIDriver, SanicDriver, StarletteDriver)
    for name in driver.SURROUNDINGS
    if (driver, name) not in PLACES
]
"""Every case also runs in one of these of each framework. Its name chooses which one."""

_ENDS = {"test_commit_before_response", "test_status_decides"}
ALWAYS: dict[Place, set[str]] = {
    (AiohttpDriver, "clones"): {"test_always_finished", "test_commit_before_response", "test_one_session"},
    (AiohttpDriver, "error-mappers"): _ENDS,
    (AiohttpDriver, "sub-application-under-clones"): {"test_commit_before_response", "test_one_session"},
    (FastAPIDriver, "base-http-middleware-outside"): _ENDS,
    (FastAPIDriver, "pipelined"): {"test_one_session"},
    (FastAPIDriver, "yield-dependencies-h11"): _ENDS,
    (SanicDriver, "asgi"): {"test_commit_before_response"},
    (SanicDriver, "asgi-blueprints"): {"test_commit_before_response"},
    (SanicDriver, "blueprints"): {"test_commit_before_response", "test_one_session"},
    (SanicDriver, "early-answers"): _ENDS,
    (StarletteDriver, "base-http-middleware-inside-h11"): _ENDS | {"test_always_finished"},
    (StarletteDriver, "parametrised-mount-hypercorn"): {"test_observed", "test_one_session"},
    (StarletteDriver, "pipelined-h11"): {"test_one_session"},
}
"""The rules that the surroundings have once broken, or might break."""

# The mounted application answers an exception by 500, before the mappers of the application outside and our 503.
_ANSWERED_INSIDE = {
    "test_a_mapper_inside_decides_by_its_status_too",
    "test_a_mapper_outside_sees_the_exception_after_the_rollback",
    "test_a_shed_request_is_a_503_with_retry_after_and_is_counted",
    "test_a_transaction_that_is_kept_open_is_named_as_the_reason",
    "test_the_application_s_error_mapper_answers_first",
    "test_what_was_written_before_is_rolled_back",
}
# Sanic tells no handler on ASGI of a client that leaves, and closes websockets before the middleware can.
_CLIENT_THAT_LEAVES = {
    "test_a_client_that_hangs_up_during_a_statement",
    "test_a_client_that_hangs_up_in_the_middle_of_a_stream",
    "test_a_client_that_hangs_up_while_the_handler_does_something_else",
    "test_an_open_websocket_is_closed_by_1013",
}
# The error handler uses the database, which these cases take away or watch.
_DATABASE_IN_THE_ERROR_HANDLER = {
    "test_a_flush_at_the_end_that_gets_no_connection_is_a_503_too",
    "test_a_rollback_that_the_database_does_not_answer_is_bounded_and_costs_only_its_connection",
    "test_a_shed_request_is_a_503_with_retry_after_and_is_counted",
    "test_no_secret_of_a_request_is_told",
    "test_the_rollback_after_an_exception_of_a_handler_is_no_early_release",
    "test_what_was_written_before_is_rolled_back",
}
NEVER: dict[Place, set[str]] = {
    (FastAPIDriver, "mounted-application-h11"): _ANSWERED_INSIDE,
    (SanicDriver, "asgi"): _CLIENT_THAT_LEAVES,
    (SanicDriver, "asgi-blueprints"): _CLIENT_THAT_LEAVES | _DATABASE_IN_THE_ERROR_HANDLER,
    (SanicDriver, "early-answers"): _DATABASE_IN_THE_ERROR_HANDLER,
}
"""Cases that something else is true of within the surroundings."""


def _chosen(case: str, module: str) -> list[Place]:
    chosen = [place for place, modules in ALWAYS.items() if module in modules]
    for framework in {driver for driver, _ in SURROUNDINGS}:
        if not any(driver is framework for driver, _ in chosen):
            possible = [each for each in SURROUNDINGS if each[0] is framework and case not in NEVER.get(each, ())]
            chosen.append(possible[zlib.crc32(case.encode()) % len(possible)])
    return sorted((place for place in chosen if case not in NEVER.get(place, ())), key=SURROUNDINGS.index)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the case in each place, and in the surroundings that are chosen for it."""
    if "driver" in metafunc.fixturenames:
        is_bare = metafunc.config.getoption("bare_applications")
        case, module = metafunc.definition.name, metafunc.definition.path.stem
        places = [*PLACES, *([] if is_bare else _chosen(case, module))]
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
