"""The sessions of a block of rolled_back share one connection: their transactions take turns, or nest."""

import asyncio

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import InvalidRequestError

from context_async_sqlalchemy import (
    DBConnect,
    db_context,
    db_session,
    new_non_ctx_session,
    run_in_new_ctx,
    set_rollback,
)
from context_async_sqlalchemy.adapter_kit import Lifecycle, finish, leave_context, open_context
from context_async_sqlalchemy.test_utils import (
    rolled_back,
)
from tests.conformance.statements import write
from tests.core.test_utils.transactions import open_transaction
from tests.support.database import Database
from tests.support.models import Note
from tests.support.waiting import turns


async def test_a_session_that_was_only_asked_for_its_bind_takes_no_turn(connection: DBConnect) -> None:
    async with rolled_back(connection, turn_timeout=0.1) as session, new_non_ctx_session(connection) as asked:
        await asked.run_sync(lambda sync_session: sync_session.get_bind())
        await run_in_new_ctx(write, connection, "by a request")
        assert await session.scalar(text("SELECT count(*) FROM notes")) == 1


async def test_a_commit_of_the_tests_session_waits_for_a_request(connection: DBConnect) -> None:
    async with rolled_back(connection) as session:
        await session.execute(text("INSERT INTO notes (body) VALUES ('by the test')"))
        written = asyncio.Event()

        async def request() -> None:
            await write(connection, "by a request")
            written.set()
            await turns()

        task = asyncio.create_task(run_in_new_ctx(request))
        await written.wait()
        await session.commit()
        await task
        assert await session.scalar(text("SELECT count(*) FROM notes")) == 2


async def test_objects_of_the_test_are_flushed_for_a_request_and_refreshed_after_it(connection: DBConnect) -> None:
    async def shout() -> int:
        session = await db_session(connection)
        notes = (await session.scalars(select(Note))).all()
        for note in notes:
            note.body = note.body.upper()
        return len(notes)

    async def write_anew() -> None:
        session = await db_session(connection)
        await session.execute(text("UPDATE notes SET body = 'anew'"))

    async with rolled_back(connection) as session:
        session.add(note := Note(body="by the test"))
        assert await run_in_new_ctx(shout) == 0
        await session.flush()
        assert await run_in_new_ctx(shout) == 1
        assert note.body == "by the test"
        await session.refresh(note)
        assert note.body == "BY THE TEST"
        await run_in_new_ctx(write_anew)
        assert (await session.get_one(Note, note.id)).body == "BY THE TEST"
        assert (await session.get_one(Note, note.id, populate_existing=True)).body == "anew"


async def test_a_flush_at_the_end_of_a_context_waits_for_its_turn_and_then_says_so(
    connection: DBConnect, database: Database
) -> None:
    async with rolled_back(connection, turn_timeout=0.1) as session:
        async with open_transaction(connection, "by a request that goes on"):
            with pytest.raises(TimeoutError, match=r"waited 0.1 s for its turn"):
                async with db_context():
                    (await db_session(connection)).add(Note(body="flushed at the end"))
        assert (await session.scalars(text("SELECT body FROM notes"))).all() == ["by a request that goes on"]
    assert await database.notes() == []


@pytest.mark.parametrize(("turn_timeout", "finish_timeout"), [(0.1, 10.0), (30.0, 0.2)])
async def test_a_commit_that_waits_for_its_turn_says_so_whichever_limit_is_shorter(
    connection: DBConnect, turn_timeout: float, finish_timeout: float
) -> None:
    async with rolled_back(connection, turn_timeout=turn_timeout):
        context, token = open_context(Lifecycle(finish_timeout=finish_timeout))
        await write(connection, "by a request")
        async with open_transaction(connection, "by a job of the request"):
            with pytest.raises(TimeoutError, match=r"waited 0.1 s for its turn") as raised:
                await finish(context, commit=True)
            assert type(raised.value) is TimeoutError
        leave_context(token)


async def test_a_transaction_that_ends_before_one_nested_in_it_rolls_both_back(
    connection: DBConnect, database: Database
) -> None:
    async with rolled_back(connection, turn_timeout=0.05) as session:
        written, go_on = asyncio.Event(), asyncio.Event()

        async def job() -> None:
            await write(connection, "lost")
            written.set()
            await go_on.wait()
            await write(connection, "half a unit")

        async def request() -> asyncio.Task[None]:
            await write(connection, "rolled back")
            task = asyncio.create_task(run_in_new_ctx(job))
            await written.wait()
            set_rollback()
            return task

        task = await run_in_new_ctx(request)
        go_on.set()
        with pytest.raises(InvalidRequestError, match="the transaction that this one is nested in has ended before it"):
            await task
        await run_in_new_ctx(write, connection, "by the next request")
        assert (await session.scalars(text("SELECT body FROM notes"))).all() == ["by the next request"]
    assert await database.notes() == []


async def test_a_transaction_that_is_rolled_back_waits_for_those_nested_in_it(connection: DBConnect) -> None:
    async with rolled_back(connection) as session:
        written = asyncio.Event()

        async def job() -> None:
            await write(connection, "by a job")
            written.set()
            await turns()
            await write(connection, "by a job")

        async def request() -> asyncio.Task[None]:
            await write(connection, "by a request")
            task = asyncio.create_task(run_in_new_ctx(job))
            await written.wait()
            set_rollback()
            return task

        await (await run_in_new_ctx(request))
        assert (await session.scalars(text("SELECT body FROM notes"))).all() == []
        await run_in_new_ctx(write, connection, "by the next request")
        assert (await session.scalars(text("SELECT body FROM notes"))).all() == ["by the next request"]
