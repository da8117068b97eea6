"""PostgreSQL answers the COMMIT of a failed transaction by a ROLLBACK: that is an error, and told as a rollback."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from context_async_sqlalchemy import DBConnect, FailedTransactionError, commit_db_session, db_context, db_session
from context_async_sqlalchemy.adapter_kit import Lifecycle, finish, leave_context, open_context
from context_async_sqlalchemy.observer import Checkout, ContextRecord, Observer
from tests.conformance.statements import run, write
from tests.support.connections import in_use
from tests.support.database import Database
from tests.support.frozen import behind_proxy

FAILING = "SELECT 1 / 0"


@pytest.fixture(params=["asyncpg", "psycopg"])
async def connection(request: pytest.FixtureRequest, database: Database) -> AsyncGenerator[DBConnect]:
    """Give the test a connection of one place by each driver."""
    url = make_url(database.url).set(drivername=f"postgresql+{request.param}")
    connection = DBConnect.from_url(url, name="main", pool_size=1, max_overflow=0)
    yield connection
    await connection.close()


async def _write_and_swallow(connection: DBConnect) -> None:
    await write(connection, "written")
    with suppress(DBAPIError):
        await run(connection, FAILING)


async def test_a_swallowed_error_is_an_error_at_the_commit(connection: DBConnect, database: Database) -> None:
    with pytest.raises(FailedTransactionError, match=r"a statement raised DivisionByZero.*begin_nested"):
        async with db_context():
            await _write_and_swallow(connection)
    assert await database.notes() == []
    assert in_use(connection) == 0


async def test_also_at_a_commit_of_the_sessions_own(connection: DBConnect, database: Database) -> None:
    async with db_context():
        session = await db_session(connection)
        with pytest.raises(FailedTransactionError):
            async with session.begin():
                await _write_and_swallow(connection)
        await _write_and_swallow(connection)
        with pytest.raises(FailedTransactionError):
            await session.commit()
        await session.rollback()
        await write(connection, "kept")
    assert await database.notes() == ["kept"]


async def test_the_session_of_an_open_context_works_again(connection: DBConnect, database: Database) -> None:
    async with db_context():
        await _write_and_swallow(connection)
        with pytest.raises(FailedTransactionError):
            await commit_db_session(connection)
        await write(connection, "kept")
    assert await database.notes() == ["kept"]


async def test_a_savepoint_that_was_rolled_back_heals(connection: DBConnect, database: Database) -> None:
    async with db_context():
        await write(connection, "written")
        session = await db_session(connection)
        with suppress(DBAPIError):
            async with session.begin_nested():
                await session.execute(text(FAILING))
    assert await database.notes() == ["written"]


async def test_a_transaction_after_one_that_failed_is_not_suspected(connection: DBConnect, database: Database) -> None:
    async with db_context():
        await _write_and_swallow(connection)
        await (await db_session(connection)).rollback()
        await write(connection, "kept")
    assert await database.notes() == ["kept"]


async def test_observers_are_told_of_a_rollback(connection: DBConnect) -> None:
    outcomes: list[str] = []

    class _Outcomes(Observer):
        def checkout_ended(self, checkout: Checkout) -> None:
            outcomes.extend(transaction.outcome for transaction in checkout.transactions)

        def context_ended(self, context: ContextRecord) -> None:
            outcomes.append(f"context {context.outcome}")

    lifecycle = Lifecycle([connection], observers=[_Outcomes()])
    context, token = open_context(lifecycle)
    await _write_and_swallow(connection)
    with pytest.raises(FailedTransactionError):
        await finish(context, commit=True)
    leave_context(token)
    assert outcomes == ["rollback", "context failed"]
    assert not context.has_committed
    await lifecycle.shut_down()


async def test_a_time_out_while_the_server_is_asked_is_a_rollback(database: Database) -> None:
    async with behind_proxy(database.url) as (connection, proxy):
        async with db_context():
            await _write_and_swallow(connection)
            proxy.freeze()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await commit_db_session(connection)
            proxy.thaw()
            await write(connection, "kept")
        assert await database.notes() == ["kept"]


async def test_many_engines_one_after_another_are_all_guarded(database: Database) -> None:
    # The object of one engine may get the address of another that is gone.
    for _ in range(20):
        connection = DBConnect.from_url(database.url, pool_size=1)
        with pytest.raises(FailedTransactionError):
            async with db_context():
                await _write_and_swallow(connection)
        await connection.close()
        del connection
        gc.collect()
