"""A stream keeps its transaction from being committed while it is read, and no longer; and it costs no memory."""

import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect, db_context, db_session
from context_async_sqlalchemy.adapter_kit import current_context, release_by_status
from tests.conformance.statements import write
from tests.support.connections import in_use
from tests.support.database import Database

ROWS = text("SELECT * FROM generate_series(1, 5000)")


async def _rows(session: AsyncSession) -> Any:
    return await session.stream(ROWS)


async def _scalars(session: AsyncSession) -> Any:
    return await session.stream_scalars(ROWS)


async def _mappings(session: AsyncSession) -> Any:
    return (await session.stream(ROWS)).mappings()


@pytest.fixture(params=[_rows, _scalars, _mappings])
def open_stream(request: pytest.FixtureRequest) -> Callable[[AsyncSession], Awaitable[Any]]:
    """Give the test each kind of stream."""
    opened: Callable[[AsyncSession], Awaitable[Any]] = request.param
    return opened


OpenStream = Callable[[AsyncSession], Awaitable[Any]]


async def test_a_stream_that_is_being_read_keeps_its_transaction(
    connection: DBConnect, open_stream: OpenStream
) -> None:
    async with db_context():
        stream = await open_stream(await db_session(connection))
        assert await anext(aiter(stream)) is not None
        await release_by_status(current_context(), 200)
        assert in_use(connection) == 1
        read = [row async for row in stream]
        assert len(read) == 4999
        await release_by_status(current_context(), 200)
        assert in_use(connection) == 0


async def test_a_stream_that_was_given_up_defers_no_commit(
    connection: DBConnect, database: Database, open_stream: OpenStream
) -> None:
    gc.disable()
    try:
        async with db_context():
            await write(connection, "written")
            session = await db_session(connection)
            async for _ in await open_stream(session):
                break
            await release_by_status(current_context(), 200)
            assert in_use(connection) == 0
            assert await database.notes() == ["written"]
    finally:
        gc.enable()


async def test_a_stream_whose_transaction_has_ended_defers_no_commit(
    connection: DBConnect, database: Database, open_stream: OpenStream
) -> None:
    async with db_context():
        session = await db_session(connection)
        stream = await open_stream(session)
        await session.commit()
        await write(connection, "written")
        await release_by_status(current_context(), 200)
        assert await database.notes() == ["written"]
        del stream


async def test_streams_leave_nothing_behind(connection: DBConnect, open_stream: OpenStream) -> None:
    async with db_context():
        session = await db_session(connection)
        for _ in range(3):
            async for _ in await open_stream(session):
                break
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(200):
            async for _ in await open_stream(session):
                break
        gc.collect()
        assert len(gc.get_objects()) - before < 200
