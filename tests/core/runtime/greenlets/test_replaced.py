"""Functions of SQLAlchemy's that a tracer, a test or the application has replaced are called."""

from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from context_async_sqlalchemy import DBConnect, db_context, db_session
from tests.conformance.statements import write
from tests.core.runtime.greenlets.programs import SESSIONS, execute
from tests.support.connections import connect_to
from tests.support.database import Database


async def test_a_commit_that_a_test_replaces_on_sqlalchemys_class_is_called(database: Database) -> None:
    connection = connect_to(database.url)
    with (
        patch.object(AsyncSession, "commit", side_effect=OSError("the network")),
        pytest.raises(OSError, match="network"),
    ):
        async with db_context():
            await write(connection, "written")
    assert await database.notes() == []
    await connection.close()


_COMMIT_REPLACED_BEFORE = """
import asyncio
import functools
from sqlalchemy.ext.asyncio import AsyncSession

plain, commits = AsyncSession.commit, []

async def traced(session):
    commits.append(session)
    await plain(session)

class Proxy:
    __code__ = plain.__code__

    def __get__(self, session, _owner):
        return self if session is None else functools.partial(traced, session)

AsyncSession.commit = {replacement}

from context_async_sqlalchemy import DBConnect, db_context, db_session

async def main():
    connection = DBConnect.from_url("sqlite+aiosqlite://", name="main")
    async with db_context():
        await (await db_session(connection)).connection()
    await connection.close()

asyncio.run(main())
assert len(commits) == 1
"""


@pytest.mark.parametrize("replacement", ["traced", "Proxy()"])
def test_a_commit_that_something_replaced_before_the_library_was_imported_is_called(replacement: str) -> None:
    assert execute(_COMMIT_REPLACED_BEFORE.format(replacement=replacement)) == (0, "")


async def test_a_commit_of_the_applications_own_class_is_called(database: Database) -> None:
    commits: list[str] = []

    class Own(AsyncSession):
        async def commit(self) -> None:
            commits.append("before")
            await super().commit()
            commits.append("after")

    connection = DBConnect(
        lambda _host: create_async_engine(database.url), lambda engine: async_sessionmaker(engine, class_=Own), "host"
    )
    async with db_context():
        await write(connection, "written")
    assert commits == ["before", "after"]
    assert await database.notes() == ["written"]
    await connection.close()


async def test_a_function_that_is_replaced_on_sqlalchemys_class_is_called(database: Database) -> None:
    connection = connect_to(database.url)
    async with db_context():
        session = await db_session(connection)
        with patch.object(AsyncSession, "execute", side_effect=OSError("the network")):
            with pytest.raises(OSError, match="network"):
                await session.execute(text("SELECT 1"))
            with pytest.raises(OSError, match="network"):
                await session.scalars(text("SELECT 1"))
        statements: list[object] = []
        plain = AsyncSession.execute

        async def traced(session: AsyncSession, statement: Any, *args: Any, **kwargs: Any) -> Any:
            statements.append(statement)
            return await plain(session, statement, *args, **kwargs)

        with patch.object(AsyncSession, "execute", traced):
            assert (await session.execute(text("SELECT 1"))).scalar() == 1
        assert (await session.execute(text("SELECT 2"))).scalar() == 2
        assert [str(statement) for statement in statements] == ["SELECT 1"]
    await connection.close()


async def test_functions_of_the_applications_own_class_are_called(database: Database) -> None:
    called: list[str] = []

    class Own(AsyncSession):
        async def execute(self, *args: Any, **kwargs: Any) -> Any:
            called.append("execute")
            return await super().execute(*args, **kwargs)

        async def close(self) -> None:
            called.append("close")
            await super().close()

    connection = DBConnect(
        lambda _host: create_async_engine(database.url), lambda engine: async_sessionmaker(engine, class_=Own), "host"
    )
    async with db_context():
        session = await db_session(connection)
        assert (await session.execute(text("SELECT 1"))).scalar() == 1
        await session.close()
    assert called == ["execute", "close"]
    await connection.close()


_SCALAR_REPLACED_BEFORE = """
import functools
from sqlalchemy.ext.asyncio import AsyncSession

plain, calls = AsyncSession.scalar, []

@functools.wraps(plain)
async def traced(session, *args, **kwargs):
    calls.append(args)
    return await plain(session, *args, **kwargs)

AsyncSession.scalar = traced
"""


def test_a_function_that_something_replaced_before_the_library_was_imported_is_called() -> None:
    assert execute(f"{_SCALAR_REPLACED_BEFORE}{SESSIONS}greenlets()\nassert len(calls) == 2") == (0, "")
