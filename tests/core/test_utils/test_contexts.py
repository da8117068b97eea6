"""The published helpers: a context of a test, and a session of a SAVEPOINT in it."""

from collections.abc import AsyncGenerator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import (
    ContextAlreadyInitiatedError,
    DBConnect,
    commit_db_session,
    db_session,
    is_context_initiated,
)
from context_async_sqlalchemy.test_utils import (
    put_savepoint_session_in_ctx,
    rollback_session,
    set_test_context,
)
from tests.conformance.statements import write
from tests.support.connections import in_use
from tests.support.database import Database


@pytest.fixture
async def test_session(connection: DBConnect) -> AsyncGenerator[AsyncSession]:
    """Open the test's session in a fixture, so in another task than the test's."""
    async with rollback_session(connection) as session:
        yield session


@pytest.fixture
async def _context(connection: DBConnect, test_session: AsyncSession) -> AsyncGenerator[None]:
    """Open a context in a fixture."""
    async with set_test_context(), put_savepoint_session_in_ctx(connection, test_session):
        yield


@pytest.mark.usefixtures("_context")
async def test_a_savepoint_session_shares_the_tests_transaction(
    connection: DBConnect, database: Database, test_session: AsyncSession
) -> None:
    await write(connection, "by the application")
    await commit_db_session(connection)
    assert (await test_session.scalars(text("SELECT body FROM notes"))).all() == ["by the application"]
    assert await database.notes() == []


@pytest.mark.parametrize(("auto_close", "kept"), [(True, ["written"]), (False, [])])
async def test_a_test_context_finishes_its_sessions_if_it_is_told_to(
    connection: DBConnect, database: Database, auto_close: bool, kept: list[str]
) -> None:
    async with set_test_context(auto_close=auto_close):
        session = await db_session(connection)
        await write(connection, "written")
    assert await database.notes() == kept
    assert in_use(connection) == (0 if auto_close else 1)
    assert not is_context_initiated()
    if not auto_close:
        await session.close()


async def test_an_exception_in_a_test_context_rolls_back(connection: DBConnect, database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with set_test_context(auto_close=True):
            await write(connection, "discarded")
            raise ZeroDivisionError
    assert await database.notes() == []


async def test_test_contexts_do_not_nest() -> None:
    async with set_test_context():
        with pytest.raises(ContextAlreadyInitiatedError):
            async with set_test_context():
                pass
