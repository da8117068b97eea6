"""Cancelled in the course of its work, once and again: no connection is lost, and the next user finds a clean one."""

import asyncio
from contextlib import suppress

import anyio
import pytest
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, db_context, db_session
from tests.conformance.statements import write
from tests.support.connections import connect_to, in_use
from tests.support.database import Database


async def _work(connection: DBConnect) -> None:
    async with db_context():
        await write(connection, "written")
        session = await db_session(connection)
        await session.execute(text("SELECT 1"))


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("again_after", [None, 0, 1, 3])
async def test_cancelled_in_any_turn_of_the_loop(database: Database, again_after: int | None) -> None:
    connection = connect_to(database.url, pool_size=1)
    await _work(connection)
    turn = untouched = 0
    committed = 1
    # Further and further apart, until the work has ended before it is cancelled.
    while untouched < 3:
        task = asyncio.create_task(_work(connection))
        await _turns(turn)
        untouched += task.done()
        task.cancel()
        if again_after is not None:
            await _turns(again_after)
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert in_use(connection) == 0, f"a connection is out after a cancellation in turn {turn}"
        # With a pool of one, this is the connection that the cancelled one had, or a new one.
        await _work(connection)
        committed += 1
        turn += 1 + turn // 20
    assert turn > 5
    assert await database.backends("state LIKE 'idle in transaction%'") == 0
    # A cancelled one has committed all or nothing, and those between them all.
    assert len(await database.notes()) >= committed
    await connection.close()


async def test_a_context_that_ends_in_a_cancelled_anyio_scope_keeps_its_physical_connection(database: Database) -> None:
    connection = connect_to(database.url, pool_size=1)
    with anyio.CancelScope() as scope:
        async with db_context():
            await write(connection, "discarded")
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert in_use(connection) == 0
    assert await database.backends("state = 'idle'") == 1
    await _work(connection)
    assert await database.notes() == ["written"]
    await connection.close()
