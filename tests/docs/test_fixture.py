"""The fixture of docs/how-to/test-your-application.md: its context reaches the test."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect, commit_db_session, db_context, db_session
from context_async_sqlalchemy.test_utils import rolled_back
from tests.support.database import Database


@pytest.fixture
async def session(connection: DBConnect) -> AsyncIterator[AsyncSession]:
    async with rolled_back(connection) as session, db_context():
        yield session


async def test_the_test_finds_the_context_of_the_fixture(
    session: AsyncSession, connection: DBConnect, database: Database
) -> None:
    await (await db_session(connection)).execute(text("INSERT INTO notes (body) VALUES ('from the context')"))
    await commit_db_session(connection)
    assert await session.scalar(text("SELECT body FROM notes")) == "from the context"
    assert await database.notes() == []
