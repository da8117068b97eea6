"""The drivers that the probe is tested on, and a connection of the library that is observed."""

import contextlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.support.connections import connect_to
from tests.support.database import Database
from tests.support.recorder import Recorder

Observe = Callable[..., Lifecycle]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(keeps_history=True)


@pytest.fixture
async def observe(recorder: Recorder) -> AsyncGenerator[Observe]:
    """Observe a connection, as ``setup_db`` does for an application, until the end of the test."""
    async with contextlib.AsyncExitStack() as stack:

        def observe(connection: DBConnect, **options: Any) -> Lifecycle:
            lifecycle = Lifecycle([connection], observers=[recorder], **options)
            stack.push_async_callback(lifecycle.shut_down)
            return lifecycle

        yield observe


@pytest.fixture
async def observed(database: Database, observe: Observe) -> DBConnect:
    """Give the test an observed connection with a pool of two."""
    connection = connect_to(database.url)
    observe(connection)
    return connection


@pytest.fixture(params=["asyncpg", "psycopg", "aiosqlite"])
async def on_any_driver(
    request: pytest.FixtureRequest, database: Database, observe: Observe, tmp_path: Path
) -> DBConnect:
    """Run the test on each driver."""
    if request.param == "aiosqlite":
        connection = DBConnect.from_url(f"sqlite+aiosqlite:///{tmp_path}/test.db", name="main", pool_size=2)
    else:
        url = make_url(database.url).set(drivername=f"postgresql+{request.param}")
        connection = DBConnect.from_url(url, name="main", pool_size=2, max_overflow=0, pool_timeout=5)
    observe(connection)
    return connection
