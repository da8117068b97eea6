"""A COMMIT that fails and leaves the transaction open, as SQLite's does; PostgreSQL ends it by itself."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from context_async_sqlalchemy import DBConnect, db_context, db_session
from tests.conformance.statements import run
from tests.support.connections import in_use


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncGenerator[DBConnect]:
    """Open a database with a deferred foreign key, over one pooled connection."""
    connection = DBConnect.from_url(f"sqlite+aiosqlite:///{tmp_path}/test.db", pool_size=1, max_overflow=0)
    await connection.session_maker()
    assert connection.engine is not None

    @event.listens_for(connection.engine.sync_engine, "connect")
    def _enforce_foreign_keys(dbapi_connection: Any, _record: object) -> None:
        dbapi_connection.cursor().execute("PRAGMA foreign_keys = ON")

    async with db_context():
        await run(connection, "CREATE TABLE customers (id integer PRIMARY KEY)")
        await run(
            connection,
            "CREATE TABLE orders (customer_id integer REFERENCES customers (id) DEFERRABLE INITIALLY DEFERRED)",
        )
    yield connection
    await connection.close()


async def test_the_next_context_does_not_commit_what_the_failed_one_wrote(sqlite: DBConnect) -> None:
    with pytest.raises(IntegrityError):
        async with db_context():
            await run(sqlite, "INSERT INTO orders VALUES (999)")
    assert in_use(sqlite) == 0
    async with db_context():
        await run(sqlite, "INSERT INTO customers VALUES (1)")
    async with db_context():
        session = await db_session(sqlite)
        assert await session.scalar(text("SELECT count(*) FROM orders")) == 0
        assert await session.scalar(text("SELECT count(*) FROM customers")) == 1
