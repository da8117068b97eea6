"""A block of rolled_back within another one."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import text

from context_async_sqlalchemy import (
    DBConnect,
    run_in_new_ctx,
)
from context_async_sqlalchemy.test_utils import (
    rolled_back,
)
from tests.conformance.statements import write
from tests.core.test_utils.transactions import open_transaction
from tests.support.database import Database


async def test_a_block_within_a_block_is_rolled_back_alone(connection: DBConnect, database: Database) -> None:
    async with rolled_back(connection) as outer:
        await outer.execute(text("INSERT INTO notes (body) VALUES ('by the fixture, open')"))
        await run_in_new_ctx(write, connection, "by the outer block")
        async with rolled_back(connection) as inner:
            await run_in_new_ctx(write, connection, "by the inner block")
            await inner.execute(text("INSERT INTO notes (body) VALUES ('by the test')"))
            for session in (inner, outer):
                assert await session.scalar(text("SELECT count(*) FROM notes")) == 4
            await inner.commit()
            await run_in_new_ctx(write, connection, "by the inner block again")
        await run_in_new_ctx(write, connection, "by the outer block again")
        rows = (await outer.scalars(text("SELECT body FROM notes ORDER BY id"))).all()
        assert rows == ["by the fixture, open", "by the outer block", "by the outer block again"]
        await outer.commit()
        assert await outer.scalar(text("SELECT count(*) FROM notes")) == 3
    assert await database.notes() == []
    await run_in_new_ctx(write, connection, "after the blocks")
    assert await database.notes() == ["after the blocks"]


async def test_blocks_nest_again_and_after_an_exception(connection: DBConnect, database: Database) -> None:
    async with rolled_back(connection) as outer:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                async with rolled_back(connection), rolled_back(connection):
                    await run_in_new_ctx(write, connection, "discarded")
                    raise ZeroDivisionError
            assert await outer.scalar(text("SELECT count(*) FROM notes")) == 0
    assert await database.notes() == []


async def test_a_commit_beneath_an_inner_block_is_refused(connection: DBConnect, database: Database) -> None:
    async with rolled_back(connection) as outer:
        await outer.execute(text("INSERT INTO notes (body) VALUES ('kept')"))
        async with rolled_back(connection, turn_timeout=0.05):
            with pytest.raises(TimeoutError, match=r"block was opened within this one\. Leave that block"):
                await outer.commit()
        await outer.commit()
        assert await outer.scalar(text("SELECT count(*) FROM notes")) == 1
    assert await database.notes() == []


async def test_a_transaction_that_the_outer_session_begins_within_an_inner_block_ends_with_that_block(
    connection: DBConnect,
) -> None:
    async with rolled_back(connection) as outer:
        async with rolled_back(connection):
            await outer.execute(text("INSERT INTO notes (body) VALUES ('discarded')"))
            await run_in_new_ctx(write, connection, "discarded")
        assert await outer.scalar(text("SELECT count(*) FROM notes")) == 0


async def test_an_inner_block_starts_within_an_application_that_has_stopped(
    connection: DBConnect, database: Database
) -> None:
    await connection.session_maker()
    async with rolled_back(connection) as outer:
        await connection.close()
        async with rolled_back(connection):
            await run_in_new_ctx(write, connection, "discarded")
        assert await outer.scalar(text("SELECT count(*) FROM notes")) == 0
    assert await database.notes() == []


async def test_the_end_of_an_inner_block_does_not_wait_for_a_job_that_is_left_over(connection: DBConnect) -> None:
    async with rolled_back(connection) as outer, AsyncExitStack() as left_over:
        async with asyncio.timeout(5), rolled_back(connection):
            await left_over.enter_async_context(open_transaction(connection, "by a job"))
        assert await outer.scalar(text("SELECT count(*) FROM notes")) == 0
