"""What is told of statements and transactions, on each driver."""

import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import Connection, Integer, column, insert, literal_column, make_url, select, table, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect, db_context, db_session
from context_async_sqlalchemy._observing import open_checkout
from context_async_sqlalchemy.observer import Checkout
from tests.core.observing.conftest import Observe
from tests.support.database import FAILING_COMMIT, SLOW_COMMIT_STATEMENT, Database
from tests.support.recorder import Recorder
from tests.support.waiting import until

SELECT = text("SELECT 1")


async def _open(connection: DBConnect) -> AsyncSession:
    return (await connection.session_maker())()


def _one(recorder: Recorder) -> Checkout:
    assert len(recorder.checkouts) == 1
    return recorder.checkouts[0]


async def test_a_committed_transaction(on_any_driver: DBConnect, recorder: Recorder) -> None:
    async with await _open(on_any_driver) as session:
        await session.execute(SELECT)
        await session.execute(SELECT)
        await session.commit()
    checkout = _one(recorder)
    (transaction,) = checkout.transactions
    assert (transaction.outcome, transaction.statements, checkout.statements) == ("commit", 2, 2)
    assert 0 < transaction.busy <= checkout.busy
    assert checkout.busy <= checkout.released_at - checkout.taken_at
    assert checkout.asked_at <= checkout.taken_at <= transaction.started_at < transaction.ended_at
    assert transaction.ended_at <= checkout.released_at
    assert (checkout.path, checkout.released_by, checkout.is_early) == ("new", "commit", False)
    assert len(recorder.connect_times) == 1
    assert 0 < recorder.connect_times[0] < 30


async def test_the_second_checkout_of_a_connection_finds_it_idle(on_any_driver: DBConnect, recorder: Recorder) -> None:
    for _ in range(2):
        async with await _open(on_any_driver) as session:
            await session.execute(SELECT)
    assert [checkout.path for checkout in recorder.checkouts] == ["new", "idle"]
    assert recorder.transactions == ["rollback", "rollback"]
    assert recorder.statements == 2
    assert len(recorder.connect_times) == 1


async def test_a_rolled_back_transaction_is_counted_once(on_any_driver: DBConnect, recorder: Recorder) -> None:
    # The library rolls back by the dialect first, and Session.rollback() does it again.
    with suppress(ZeroDivisionError):
        async with db_context():
            await (await db_session(on_any_driver)).execute(SELECT)
            raise ZeroDivisionError
    assert recorder.transactions == ["rollback"]
    assert _one(recorder).released_by == "end"


async def test_several_transactions_on_one_checkout(on_any_driver: DBConnect, recorder: Recorder) -> None:
    await on_any_driver.session_maker()
    assert on_any_driver.engine is not None
    async with on_any_driver.engine.connect() as connection:
        await connection.execute(SELECT)
        await connection.commit()
        await connection.execute(SELECT)
        await connection.rollback()
        async with connection.begin():
            await connection.execute(SELECT)
    assert recorder.transactions == ["commit", "rollback", "commit"]
    assert _one(recorder).statements == 3


async def test_engine_begin_and_run_sync(on_any_driver: DBConnect, recorder: Recorder) -> None:
    def work(connection: Connection) -> None:
        connection.execute(SELECT)
        connection.exec_driver_sql("SELECT 1")

    await on_any_driver.session_maker()
    assert on_any_driver.engine is not None
    async with on_any_driver.engine.begin() as connection:
        await connection.run_sync(work)
    assert recorder.transactions == ["commit"]
    assert recorder.statements == 2


async def test_execution_options_make_no_engine_that_escapes(on_any_driver: DBConnect, recorder: Recorder) -> None:
    await on_any_driver.session_maker()
    assert on_any_driver.engine is not None
    async with on_any_driver.engine.execution_options(logging_token="x").connect() as connection:  # noqa: S106
        await connection.execute(SELECT)
    assert recorder.statements == 1


async def test_savepoints_are_no_transactions_and_no_statements(on_any_driver: DBConnect, recorder: Recorder) -> None:
    async with await _open(on_any_driver) as session:
        async with session.begin_nested():
            await session.execute(SELECT)
        with suppress(ZeroDivisionError):
            async with session.begin_nested():
                await session.execute(SELECT)
                raise ZeroDivisionError
        await session.commit()
    assert recorder.transactions == ["commit"]
    assert _one(recorder).statements == 2
    assert _one(recorder).transactions[0].statements == 2


async def test_autocommit_has_statements_and_no_transactions(on_any_driver: DBConnect, recorder: Recorder) -> None:
    await on_any_driver.session_maker()
    assert on_any_driver.engine is not None
    async with on_any_driver.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(SELECT)
        await connection.commit()
    checkout = _one(recorder)
    assert (checkout.statements, checkout.transactions) == (1, [])
    assert checkout.busy > 0


async def test_a_connection_that_runs_nothing(on_any_driver: DBConnect, recorder: Recorder) -> None:
    await on_any_driver.session_maker()
    assert on_any_driver.engine is not None
    async with on_any_driver.engine.connect():
        pass
    checkout = _one(recorder)
    assert (checkout.statements, checkout.transactions, checkout.released_by) == (0, [], "close")


async def test_bulk_statements(on_any_driver: DBConnect, recorder: Recorder) -> None:
    items = table("probed", column("id"))
    await on_any_driver.session_maker()
    assert on_any_driver.engine is not None
    async with on_any_driver.engine.begin() as connection:
        await connection.execute(text("CREATE TEMPORARY TABLE probed (id int)"))
        await connection.execute(insert(items), [{"id": 1}, {"id": 2}])
    assert _one(recorder).statements == 2


async def test_a_failing_statement(on_any_driver: DBConnect, recorder: Recorder) -> None:
    async with await _open(on_any_driver) as session:
        with pytest.raises(DBAPIError):
            await session.execute(text("SELECT nonsense"))
    checkout = _one(recorder)
    assert recorder.transactions == ["rollback"]
    assert checkout.error is not None
    assert checkout.transactions[0].error is checkout.error


async def test_an_invalidated_connection_loses_its_transaction(on_any_driver: DBConnect, recorder: Recorder) -> None:
    async with await _open(on_any_driver) as session:
        await session.execute(SELECT)
        await session.invalidate()
        await session.execute(SELECT)
        await session.commit()
    assert recorder.transactions == ["lost", "commit"]
    assert [checkout.released_by for checkout in recorder.checkouts] == ["invalidation", "commit"]
    assert recorder.invalidations == 1
    assert len(recorder.connect_times) == 2


async def test_a_statement_that_is_cancelled(observed: DBConnect, recorder: Recorder, database: Database) -> None:
    async def work() -> None:
        async with await _open(observed) as session:
            await session.execute(text("SELECT pg_sleep(10)"))

    task = asyncio.create_task(work())
    await database.wait_for_statement("pg_sleep")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    checkout = _one(recorder)
    assert recorder.transactions == ["lost"]
    assert (checkout.released_by, recorder.invalidations) == ("invalidation", 1)
    assert isinstance(checkout.error, asyncio.CancelledError)


async def test_a_commit_that_the_server_refuses_is_a_rollback(observed: DBConnect, recorder: Recorder) -> None:
    async with await _open(observed) as session:
        await session.execute(text(FAILING_COMMIT))
        with pytest.raises(IntegrityError):
            await session.commit()
    assert recorder.transactions == ["rollback"]
    assert _one(recorder).transactions[0].error is not None


async def test_a_commit_that_is_cancelled_is_unknown(
    observed: DBConnect, recorder: Recorder, database: Database
) -> None:
    async def work() -> None:
        async with await _open(observed) as session:
            await session.execute(text(SLOW_COMMIT_STATEMENT))
            await session.commit()

    async with database.gate_shut():
        task = asyncio.create_task(work())
        await database.wait_for_statement("COMMIT")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert recorder.transactions == ["unknown"]


async def test_the_fetches_of_a_server_side_cursor_count_as_time_in_the_driver(
    on_any_driver: DBConnect, recorder: Recorder
) -> None:
    # Each row takes the server some time, so a fetch does.
    numbers = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 400000) "
    rows, slept, now = 0, 0.0, asyncio.get_running_loop().time
    async with await _open(on_any_driver) as session:
        options = {"yield_per": 1}
        async for _ in await session.stream(
            text(numbers + "SELECT n FROM t WHERE n % 100000 = 0"), execution_options=options
        ):
            rows += 1
            asleep_since = now()
            await asyncio.sleep(0.05)
            slept += now() - asleep_since
    assert rows == 4
    checkout = _one(recorder)
    busy = checkout.hold_seconds - checkout.idle_seconds
    assert checkout.idle_seconds >= slept
    assert busy > 0.7 * (checkout.hold_seconds - slept)
    assert checkout.transactions[0].busy == checkout.busy
    assert checkout.statements == 1


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize("commits", [True, False])
async def test_a_two_phase_transaction_ends_once(
    database: Database, observe: Observe, recorder: Recorder, driver: str, commits: bool
) -> None:
    connection = DBConnect.from_url(make_url(database.url).set(drivername=f"postgresql+{driver}"), name="main")
    observe(connection)

    def work(connection: Connection) -> None:
        transaction = connection.begin_twophase()
        connection.execute(SELECT)
        if commits:
            transaction.commit()
        else:
            transaction.rollback()

    await connection.session_maker()
    assert connection.engine is not None
    async with connection.engine.connect() as raw:
        await raw.run_sync(work)
    assert recorder.transactions == ["commit" if commits else "rollback"]
    assert _one(recorder).statements == 1


async def test_a_two_phase_transaction_keeps_the_error_of_a_savepoint(
    database: Database, observe: Observe, recorder: Recorder
) -> None:
    connection = DBConnect.from_url(make_url(database.url), name="main")
    observe(connection)

    def work(connection: Connection) -> None:
        transaction = connection.begin_twophase()
        with suppress(DBAPIError), connection.begin_nested():
            connection.execute(text("SELECT 1 / 0"))
        transaction.commit()

    await connection.session_maker()
    assert connection.engine is not None
    async with connection.engine.connect() as raw:
        await raw.run_sync(work)
    assert recorder.transactions == ["commit"]
    assert "division by zero" in str(_one(recorder).transactions[0].error)


async def test_a_checkout_with_many_transactions_keeps_the_last_and_counts_all(
    on_any_driver: DBConnect, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_checkout, "TRANSACTIONS", 3)
    await on_any_driver.session_maker()
    assert on_any_driver.engine is not None
    async with on_any_driver.engine.connect() as connection:
        for number in range(7):
            await connection.execute(SELECT)
            await (connection.rollback() if number < 5 else connection.commit())
    checkout = _one(recorder)
    assert recorder.transactions == ["rollback", "commit", "commit"]
    assert checkout.statements == 7
    assert checkout.busy > sum(transaction.busy for transaction in checkout.transactions)


async def test_a_select_by_the_orm_layer(on_any_driver: DBConnect, recorder: Recorder) -> None:
    async with await _open(on_any_driver) as session:
        assert (await session.scalars(select(literal_column("7", Integer)))).all() == [7]
    await until(lambda: len(recorder.checkouts) == 1, "given back")
    assert recorder.statements == 1
