"""The database of the tests, looked at from outside of the library."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from tests.support.waiting import until_async

APPLICATION_NAME = "library under test"

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS notes (id serial PRIMARY KEY, body text NOT NULL)",
    """CREATE TABLE IF NOT EXISTS unique_notes (
        body text CONSTRAINT unique_notes_body UNIQUE DEFERRABLE INITIALLY DEFERRED
    )""",
    "CREATE TABLE IF NOT EXISTS slow_notes (body text)",
    """CREATE OR REPLACE FUNCTION wait_for_gate() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END'""",
    "DROP TRIGGER IF EXISTS at_commit ON slow_notes",
    """CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON slow_notes
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_for_gate()""",
)

FAILING_COMMIT = "INSERT INTO unique_notes VALUES ('twice'), ('twice')"
"""Succeeds as a statement; the COMMIT after it fails by the deferred constraint."""

CONFLICT = "DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = 'serialization_failure'; END $$"
"""Fails as a statement of a transaction that the server refuses because of another one."""

SLOW_COMMIT_STATEMENT = "INSERT INTO slow_notes VALUES ('slow')"
"""Succeeds as a statement; the COMMIT after it waits while the gate is shut."""


class Database:
    """A view of the database by connections of its own.

    Args:
        url: the SQLAlchemy URL of the database.

    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine: AsyncEngine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")

    async def create_schema(self) -> None:
        """Make the tables of the tests."""
        async with self._engine.connect() as connection:
            for statement in SCHEMA:
                await connection.execute(text(statement))

    async def empty(self) -> None:
        """Delete all rows, after ending what an earlier test left running on the server.

        A statement that is cancelled twice goes on there: SQLAlchemy then closes the socket at once, without a
        cancel request, and PostgreSQL notices only when it wants to answer.
        """
        await self.terminate_backends()
        await self.wait_for_backends("true", count=0)
        async with self._engine.connect() as connection:
            await connection.execute(text("TRUNCATE notes, unique_notes, slow_notes RESTART IDENTITY"))

    async def notes(self, table: str = "notes") -> list[str]:
        """Return the bodies of the rows that are committed."""
        async with self._engine.connect() as connection:
            return list((await connection.scalars(text(f"SELECT body FROM {table} ORDER BY 1"))).all())

    async def backends(self, condition: str = "true") -> int:
        """Count the server processes of the library under test for which a condition on pg_stat_activity holds."""
        async with self._engine.connect() as connection:
            query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = :name AND ({condition})"
            return int((await connection.execute(text(query), {"name": APPLICATION_NAME})).scalar_one())

    async def wait_for_backends(self, condition: str, count: int = 1) -> None:
        """Wait until that many server processes fulfil a condition."""

        async def reached() -> bool:
            return await self.backends(condition) == count

        await until_async(reached, f"{count} server process(es) with {condition}")

    async def wait_for_statement(self, fragment: str) -> None:
        """Wait until the server is executing a statement that contains a fragment."""
        await self.wait_for_backends(f"state = 'active' AND query LIKE '%{fragment}%'")

    @asynccontextmanager
    async def gate_shut(self) -> AsyncGenerator[AsyncConnection]:
        """Make every COMMIT of SLOW_COMMIT_STATEMENT wait until the block ends."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(7)"))
            try:
                yield connection
            finally:
                await asyncio.shield(connection.execute(text("SELECT pg_advisory_unlock(7)")))

    async def terminate_backends(self) -> None:
        """Kill the server processes of the library under test."""
        async with self._engine.connect() as connection:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name"
            await connection.execute(text(query), {"name": APPLICATION_NAME})

    async def terminate(self, pid: int) -> None:
        """Kill one server process, and wait until it has gone."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
