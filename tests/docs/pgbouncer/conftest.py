"""A PgBouncer in front of the session's PostgreSQL, and connections of the library through it."""

import shutil
from collections.abc import AsyncGenerator, Generator

import pytest

from context_async_sqlalchemy import DBConnect
from tests.docs.pgbouncer.bouncer import Bouncer, running
from tests.docs.pgbouncer.configured import ASYNCPG
from tests.support.database import APPLICATION_NAME, Database


@pytest.fixture(scope="session")
def program() -> str:
    # Where Debian puts it is not in everybody's PATH.
    path = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if path is None:
        # In CI a skipped test is a failure.
        pytest.skip("pgbouncer is missing: apt-get install --no-install-recommends pgbouncer")
    return path


@pytest.fixture(scope="session")
def bouncer(program: str, database_url: str) -> Generator[Bouncer]:
    with running(program, database_url) as bouncer:
        yield bouncer


@pytest.fixture
async def bounced(bouncer: Bouncer, database: Database) -> AsyncGenerator[DBConnect]:
    """Give the test a connection of the library through PgBouncer, larger than what PgBouncer has."""
    del database  # emptied first
    named = {"server_settings": {"application_name": APPLICATION_NAME}}
    connection = DBConnect.from_url(bouncer.url, name="bounced", pool_size=10, connect_args=ASYNCPG | named)
    yield connection
    await connection.close()
