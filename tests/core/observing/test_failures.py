"""What observers are told of failures; and that a failure to observe harms nobody."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from context_async_sqlalchemy import DBConnect, Retry, db_context, db_session, run_in_new_ctx
from context_async_sqlalchemy.adapter_kit import Lifecycle, finish, leave_context, open_context
from tests.conformance.statements import run
from tests.core.observing.conftest import Observe
from tests.core.observing.engines import SELECT, around, engine_of, select_on
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, SLOW_COMMIT_STATEMENT, Database
from tests.support.frozen import behind_proxy
from tests.support.recorder import Recorder

_PAUSE = 0.1
_REFUSED_AT_COMMIT = (
    "CREATE TABLE refused_notes (body text)",
    """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = 'serialization_failure'; END $$""",
    """CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON refused_notes
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()""",
)


async def test_a_commit_that_fails_while_its_caller_is_cancelled_counts_as_failed(
    observed: DBConnect, database: Database, recorder: Recorder
) -> None:
    async def work() -> None:
        async with db_context():
            await run(observed, SLOW_COMMIT_STATEMENT)
            await run(observed, FAILING_COMMIT)

    async with database.gate_shut():
        working = asyncio.create_task(work())
        await database.wait_for_statement("COMMIT")
        working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert [context.outcome for context in recorder.contexts] == ["failed"]
    assert recorder.transactions == ["rollback"]


async def test_a_cancellation_during_the_rollback_after_a_failed_commit_names_the_failure(database: Database) -> None:
    rolling_back, gate = asyncio.Event(), asyncio.Event()

    class SlowRollback(AsyncSession):
        async def rollback(self) -> None:
            rolling_back.set()
            await gate.wait()
            await super().rollback()

    connection = DBConnect(
        lambda _: create_async_engine(database.url),
        lambda engine: async_sessionmaker(engine, class_=SlowRollback),
        "host",
    )

    async def work() -> None:
        context, token = open_context()
        try:
            await run(connection, FAILING_COMMIT)
            await finish(context, commit=True)
        finally:
            leave_context(token)

    working = asyncio.create_task(work())
    await rolling_back.wait()
    working.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError) as raised:
        await working
    assert isinstance(raised.value.__cause__, IntegrityError)
    assert in_use(connection) == 0
    await connection.close()


@pytest.fixture
async def refused_at_commit(observed: DBConnect) -> AsyncGenerator[DBConnect]:
    """Make a table whose rows the server refuses at their COMMIT, as of a conflict."""
    async with db_context():
        for statement in _REFUSED_AT_COMMIT:
            await run(observed, statement)
    yield observed
    async with db_context():
        await run(observed, "DROP TABLE refused_notes")
        await run(observed, "DROP FUNCTION refuse()")


async def test_a_retry_after_a_refused_commit_names_the_pool(refused_at_commit: DBConnect, recorder: Recorder) -> None:
    async def write() -> None:
        await run(refused_at_commit, "INSERT INTO refused_notes VALUES ('refused')")

    with pytest.raises(DBAPIError, match="conflict"):
        await run_in_new_ctx(write, retry=Retry(attempts=2, base_delay=0))
    assert [attempt.pool for attempt in recorder.retries] == recorder.pools


async def test_the_wait_for_a_savepoint_is_not_held_idle(
    database: Database, observe: Observe, recorder: Recorder
) -> None:
    async with behind_proxy(database.url) as (connection, proxy):
        observe(connection)
        async with db_context():
            session = await db_session(connection)
            await session.execute(SELECT)
            await session.begin_nested()
            proxy.freeze()
            asyncio.get_running_loop().call_later(_PAUSE, proxy.thaw)
            await session.execute(SELECT)
    (checkout,) = recorder.checkouts
    # The idle time is what is left of the time that the connection was held.
    assert checkout.busy >= _PAUSE * 1e9 * 0.9
    assert checkout.idle_seconds < _PAUSE


async def test_a_fetch_that_fails_is_the_error_of_its_transaction(observed: DBConnect, recorder: Recorder) -> None:
    async with db_context():
        session = await db_session(observed)
        # Beyond what the driver fetches at first.
        stream = await session.stream(text("SELECT 1 / (5000 - i) FROM generate_series(1, 10000) i"))
        # The driver's own error: SQLAlchemy does not wrap one of a fetch.
        with pytest.raises(Exception, match="division by zero"):
            await stream.all()
        await session.rollback()
    of_the_checkout, of_the_transaction = recorder.errors
    assert "division by zero" in of_the_checkout
    assert "division by zero" in of_the_transaction


async def test_a_two_phase_commit_that_fails_is_no_commit(
    database: Database, observe: Observe, recorder: Recorder
) -> None:
    connection = DBConnect(
        lambda _: create_async_engine(database.url),
        lambda engine: async_sessionmaker(engine, twophase=True),
        "host",
    )
    observe(connection)
    with pytest.raises(DBAPIError):
        async with db_context():
            # Succeeds as a statement, and cannot be prepared.
            await run(connection, "CREATE TEMPORARY TABLE passing (body text)")
    assert recorder.transactions == ["rollback"]
    assert recorder.errors
    assert in_use(connection) == 0


async def test_a_pool_that_cannot_be_asked_is_logged_and_works_on(
    database: Database, observe: Observe, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    questions = 0

    class OddPool(AsyncAdaptedQueuePool):
        def checkedin(self) -> int:
            nonlocal questions
            questions += 1
            return super().checkedin() if questions > 1 else 1 // 0

    engine = create_async_engine(database.url, poolclass=OddPool, pool_size=1, max_overflow=0)
    connection = around(engine)
    observe(connection)
    await engine_of(connection)
    with caplog.at_level(logging.WARNING, "context_async_sqlalchemy"):
        await select_on(engine)
        await select_on(engine)
    assert "ZeroDivisionError" in caplog.text
    assert len(recorder.checkouts) == 2
    await engine.dispose()


async def test_a_pool_is_observed_again_after_its_only_observer_has_left(
    connection: DBConnect, recorder: Recorder
) -> None:
    lifecycle = Lifecycle([connection], observers=[recorder])
    engine = await engine_of(connection)
    await select_on(engine)
    connection.observe_no_more(lifecycle.observation)
    await select_on(engine)
    assert len(recorder.checkouts) == 1
    connection.observe(lifecycle.observation)
    await select_on(engine)
    assert len(recorder.checkouts) == 2
