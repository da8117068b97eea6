"""Under random cancellations every checkout is told of once, and the readings stay true."""

import asyncio
import random
from contextlib import suppress

import pytest
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, commit_db_session, db_context, db_session
from context_async_sqlalchemy.observer import PoolReading
from tests.core.observing.conftest import Observe
from tests.support.connections import connect_to, in_use
from tests.support.database import Database
from tests.support.recorder import Recorder

TASKS = 2000
AT_ONCE = 20


async def _request(connection: DBConnect, chance: random.Random) -> None:
    async with db_context():
        session = await db_session(connection)
        for _ in range(chance.randint(1, 2)):
            await session.execute(text("SELECT 1"))
            if chance.random() < 0.3:
                await commit_db_session(connection)
        if chance.random() < 0.1:
            raise ZeroDivisionError


@pytest.mark.parametrize("seed", [1])
async def test_two_thousand_random_cancellations(
    database: Database, observe: Observe, recorder: Recorder, seed: int
) -> None:
    recorder.keeps_history = False
    connection = connect_to(database.url, pool_size=3)
    observe(connection)
    chance = random.Random(seed)  # noqa: S311
    turnstile = asyncio.Semaphore(AT_ONCE)
    loop = asyncio.get_running_loop()

    async def one() -> None:
        async with turnstile:
            task = asyncio.create_task(_request(connection, chance))
            for _ in range(chance.randint(0, 2)):
                # The longer times reach a statement on a busy machine too, where most tasks wait for a connection.
                loop.call_later(chance.random() * chance.choice((0.02, 0.2)), task.cancel)
            with suppress(asyncio.CancelledError, ZeroDivisionError):
                await task

    await asyncio.gather(*(one() for _ in range(TASKS)))
    (pool,) = recorder.pools
    assert in_use(connection) == 0
    reading = pool.read()
    assert (reading.used, reading.pending, reading.maximum) == (0, 0, 3)
    assert reading.idle == await database.backends()
    assert len(recorder.begun) == len(recorder.contexts)
    assert len({id(context) for context in recorder.contexts}) == len(recorder.contexts)
    assert len({id(checkout) for checkout in recorder.checkouts}) == len(recorder.checkouts)
    assert all(checkout.released_at >= checkout.taken_at >= checkout.asked_at for checkout in recorder.checkouts)
    assert all(checkout.busy <= checkout.released_at - checkout.taken_at for checkout in recorder.checkouts)
    assert len(recorder.early) == sum(checkout.is_early for checkout in recorder.checkouts)
    assert any(failure.failure == "cancelled" for failure in recorder.failures)
    assert recorder.invalidations > 0
    # No place in the pool is lost: as many as it has can be taken at once.
    assert connection.engine is not None
    taken = [await connection.engine.connect() for _ in range(3)]
    assert pool.read() == PoolReading(3, 0, 0, 3, 3)
    for each in taken:
        await each.close()
