"""How sessions are closed: without waiting where they hold nothing, and as the application's own classes want it."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from context_async_sqlalchemy import DBConnect, commit_db_session, db_context, db_session
from context_async_sqlalchemy.adapter_kit import finish, leave_context, open_context
from tests.conformance.statements import write
from tests.support.connections import in_use
from tests.support.database import Database


async def test_closing_a_session_by_hand_is_a_reset_as_by_default(connection: DBConnect, database: Database) -> None:
    async with db_context():
        session = await db_session(connection)
        await session.execute(text("SELECT 1"))
        await session.close()
        assert in_use(connection) == 0
        await write(connection, "afterwards")
    assert await database.notes() == ["afterwards"]


async def test_a_context_whose_session_holds_nothing_ends_without_waiting_for_anything(connection: DBConnect) -> None:
    context, token = open_context()
    await write(connection, "kept")
    await commit_db_session(connection)
    ending = finish(context, commit=True)
    # A task, or a statement, would make it suspend.
    with pytest.raises(StopIteration):
        ending.send(None)
    leave_context(token)
    assert not context.is_open


async def test_the_close_of_an_applications_own_session_class_is_called(database: Database) -> None:
    closed: list[Session] = []

    class OwnSync(Session):
        def close(self) -> None:
            closed.append(self)
            super().close()

    connection = DBConnect(
        lambda _: create_async_engine(database.url),
        lambda engine: async_sessionmaker(engine, sync_session_class=OwnSync),
        "host",
    )
    async with db_context():
        session = await db_session(connection)
        await session.execute(text("SELECT 1"))
    assert closed == [session.sync_session]
    await connection.close()


async def test_an_idle_session_that_cannot_be_closed_fails_neither_its_request_nor_the_other_sessions(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[Session] = []

    class OwnSync(Session):
        def close(self) -> None:
            closed.append(self)
            if len(closed) == 1:
                raise OSError("its own log is full")
            super().close()

    def connect(name: str) -> DBConnect:
        return DBConnect(
            lambda _: create_async_engine(database.url),
            lambda engine: async_sessionmaker(engine, sync_session_class=OwnSync),
            "host",
            name=name,
        )

    first, second = connect("first"), connect("second")
    async with db_context():
        sessions = [await db_session(first), await db_session(second)]
        await write(first, "kept")
    assert await database.notes() == ["kept"]
    assert {session.sync_session for session in sessions} <= set(closed)
    assert "its own log is full" in caplog.text
    for connection in (first, second):
        await connection.close()
