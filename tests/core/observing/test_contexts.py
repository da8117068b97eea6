"""What is told of contexts: their checkouts, their outcomes, and checkouts within others."""

import asyncio
import logging

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from context_async_sqlalchemy import (
    DBConnect,
    commit_db_session,
    db_context,
    db_session,
    run_in_new_ctx,
    set_rollback,
)
from context_async_sqlalchemy.adapter_kit import (
    Lifecycle,
    finish,
    leave_context,
    open_context,
)
from context_async_sqlalchemy.observer import HISTORY, NO_ROUTE
from tests.conformance.statements import run, write
from tests.core.observing.conftest import Observe
from tests.support.connections import connect_to
from tests.support.database import FAILING_COMMIT, Database
from tests.support.recorder import Recorder
from tests.support.waiting import until


async def test_a_context_is_told_of_at_its_first_checkout_and_at_its_end(
    observed: DBConnect, recorder: Recorder
) -> None:
    async with db_context():
        await db_session(observed)
        assert recorder.begun == []
        await run(observed, "SELECT 1")
        await commit_db_session(observed)
        await run(observed, "SELECT 1")
        assert len(recorder.begun) == 1
        assert recorder.contexts == []
    assert recorder.contexts == recorder.begun
    (context,) = recorder.contexts
    assert [checkout.context for checkout in recorder.checkouts] == [context, context]
    assert context.began_at <= recorder.checkouts[0].asked_at
    assert context.ended_at >= recorder.checkouts[1].released_at
    assert context.outcome == "commit"


async def test_a_connection_that_is_first_needed_by_the_flush_at_the_end_belongs_to_the_context(
    observed: DBConnect, recorder: Recorder, database: Database
) -> None:
    class Base(DeclarativeBase):
        pass

    class Note(Base):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]

    async with db_context():
        (await db_session(observed)).add(Note(body="flushed at the end"))
    assert await database.notes() == ["flushed at the end"]
    (context,) = recorder.contexts
    (checkout,) = recorder.checkouts
    assert checkout.context is context
    assert (context.outcome, checkout.released_by, checkout.is_early) == ("commit", "end", False)


async def test_a_connection_that_a_commit_hook_needs_first_belongs_to_the_context(
    database: Database, recorder: Recorder
) -> None:
    connection = connect_to(database.url)

    async def before_commit(_session: AsyncSession) -> None:
        await run(connection, "SELECT 1")

    lifecycle = Lifecycle([connection], observers=[recorder], before_commit=before_commit)
    context, token = open_context(lifecycle)
    try:
        await (await db_session(connection)).begin()
        await finish(context, commit=True)
    finally:
        leave_context(token)
    assert [checkout.context for checkout in recorder.checkouts] == recorder.contexts
    await lifecycle.shut_down()


async def test_a_context_without_a_checkout_is_not_told_of(observed: DBConnect, recorder: Recorder) -> None:
    async with db_context():
        await db_session(observed)
    assert recorder.begun == []


async def test_outcomes_of_contexts(observed: DBConnect, recorder: Recorder) -> None:
    async with db_context():
        await write(observed, "committed")
    with pytest.raises(ZeroDivisionError):
        async with db_context():
            await write(observed, "rolled back")
            raise ZeroDivisionError
    async with db_context():
        await write(observed, "rolled back")
        set_rollback()
    with pytest.raises(Exception, match="unique_notes_body"):
        async with db_context():
            await run(observed, FAILING_COMMIT)
    async with db_context():
        assert observed.engine is not None
        async with observed.engine.connect():
            pass
    async with db_context(), observed.engine.begin() as connection:
        await connection.execute(text("SELECT 1"))
    outcomes = [context.outcome for context in recorder.contexts]
    assert outcomes == ["commit", "rollback", "rollback", "failed", "unused", "commit"]
    assert recorder.failed_contexts == [recorder.contexts[3]]
    assert recorder.contexts[3].error is None, "an ended record keeps the frames of an exception"


async def test_a_cancellation_during_the_last_commit_is_no_failure(
    observed: DBConnect, recorder: Recorder, database: Database
) -> None:
    async def work() -> None:
        async with db_context():
            await run(observed, "INSERT INTO slow_notes VALUES ('slow')")

    async with database.gate_shut():
        task = asyncio.create_task(work())
        await database.wait_for_statement("COMMIT")
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.transactions == ["commit"]
    assert [context.outcome for context in recorder.contexts] == ["commit"]


async def test_a_context_keeps_as_much_as_is_useful(observed: DBConnect, recorder: Recorder) -> None:
    async with db_context():
        for _ in range(HISTORY + 3):
            await run(observed, "SELECT 1")
            await commit_db_session(observed)
    (context,) = recorder.contexts
    assert len(recorder.checkouts) == HISTORY + 3
    assert len(context.checkouts) == len(context.early_releases) == HISTORY


async def test_a_context_that_waits_while_it_holds_a_connection_is_told_once_in_the_log(
    database: Database, observe: Observe, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect_to(database.url, pool_size=1)
    observe(connection)

    async def handler() -> None:
        async with db_context():
            await run(connection, "SELECT 1")
            inner = asyncio.create_task(run_in_new_ctx(run, connection, "SELECT 1"))
            expected = len(recorder.nested) + 1
            await until(lambda: len(recorder.nested) == expected, "it waits")
            await commit_db_session(connection)
            await inner

    await handler()
    await handler()
    assert [nested.route for nested in recorder.nested] == [NO_ROUTE] * 2
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "waits for a connection while it holds one of the same pool" in warnings[0]
    assert "commit_db_session(connection)" in warnings[0]


async def test_waiting_for_another_ones_connection_is_not_nested(
    database: Database, observe: Observe, recorder: Recorder
) -> None:
    connection = connect_to(database.url, pool_size=1)
    observe(connection)
    async with db_context():
        await run(connection, "SELECT 1")
        pool = recorder.pools[0]

    async def hold(release: asyncio.Event) -> None:
        async with db_context():
            await run(connection, "SELECT 1")
            await release.wait()

    release = asyncio.Event()
    holding = asyncio.create_task(hold(release))
    await until(lambda: pool.read().used == 1, "it is held")
    waiting = asyncio.create_task(run_in_new_ctx(run, connection, "SELECT 1"))
    await until(lambda: pool.read().pending == 1, "another waits")
    release.set()
    await asyncio.gather(holding, waiting)
    assert recorder.nested == []
