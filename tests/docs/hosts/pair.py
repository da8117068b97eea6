"""The two servers of a test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.support.database import APPLICATION_NAME
from tests.support.waiting import until_async
from tools.local_postgres import PostgresReplica, PostgresServer


async def execute(server: PostgresServer, statement: str) -> Sequence[Row[Any]]:
    """Execute a statement on a server, by a connection of its own; return the rows."""
    engine = create_async_engine(server.url(), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        result = await connection.execute(text(statement))
        rows: Sequence[Row[Any]] = result.all() if result.returns_rows else ()
    await engine.dispose()
    return rows


def host_of(server: PostgresServer) -> str:
    """Name a server as ``change_host`` wants it."""
    host, port = server.address
    return f"{host}:{port}"


@dataclass(frozen=True)
class Pair:
    """A primary and its replica."""

    primary: PostgresServer
    replica: PostgresReplica

    @property
    def hosts(self) -> list[str]:
        """Both, as ``change_host`` wants them."""
        return [host_of(self.primary), host_of(self.replica)]

    async def create_notes(self) -> None:
        """Make a table, on both."""
        await execute(self.primary, "CREATE TABLE notes (body text)")

        async def has_arrived() -> bool:
            return bool((await execute(self.replica, "SELECT to_regclass('notes') IS NOT NULL"))[0][0])

        await until_async(has_arrived, "the replica has the table")


async def connections_to(server: PostgresServer) -> int:
    """Count the connections of the library under test to a server."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{APPLICATION_NAME}'"
    return int((await execute(server, query))[0][0])
