"""The database server of the test run, and a clean database for each test."""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncGenerator, Generator
from importlib.metadata import entry_points
from typing import Any

import pytest

from context_async_sqlalchemy import DBConnect
from tests.support.connections import connect_to
from tests.support.database import Database
from tools.local_postgres import database_server

# Here, because the process that distributes the tests loads no conftest of a folder.
pytest_plugins = ["tests.proof.printing"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the runs on other versions be shorter."""
    parser.addoption(
        "--bare-applications",
        action="store_true",
        help="run the conformance suite on bare applications only, and within no surroundings",
    )


@pytest.fixture(scope="session", autouse=True)
def entry_points_are_read_once() -> Generator[None]:
    """Keep the entry points of a ``sys.path``: thousands of applications would each read those of all packages."""
    kept: dict[tuple[object, ...], Any] = {}

    def read(**wanted: str) -> Any:
        key = (*sys.path, *wanted.items())
        if key not in kept:
            kept[key] = entry_points(**wanted)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("context_async_sqlalchemy._plugins.entry_points", read)
        yield


@pytest.fixture(scope="session")
def database_url() -> Generator[str]:
    """URL of a real PostgreSQL: DATABASE_URL, or an embedded one for this run."""
    with database_server() as url:
        asyncio.run(Database(url).create_schema())
        yield url


@pytest.fixture
async def database(database_url: str) -> Database:
    """Give the test an empty database to look into."""
    database = Database(database_url)
    await database.empty()
    return database


@pytest.fixture
async def connection(database: Database) -> AsyncGenerator[DBConnect]:
    """Give the test a connection of the library to it, with a small pool."""
    connection = connect_to(database.url)
    yield connection
    await connection.close()


def pytest_collection_finish() -> None:
    """Leave the modules of all tests out of the collections of garbage, of which there are thousands in a run."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failure: a server that is missing there must not pass for a green run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("a test was skipped, and CI does not allow that", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
