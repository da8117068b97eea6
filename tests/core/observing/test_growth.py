"""What observing does for a checkout does not depend on the connections that are out, and on the waits of others."""

import asyncio

from context_async_sqlalchemy import db_session, run_in_new_ctx
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.core.observing.engines import SELECT
from tests.support.connections import connect_to
from tests.support.counting import executed
from tests.support.database import Database
from tests.support.recorder import Recorder
from tests.support.waiting import turns, until


async def _executed_by_a_checkout_that_waits(url: str, out: int, waiting: int) -> int:
    """Return what a checkout executes until it waits, with connections out and others that wait."""
    connection, observer = connect_to(url, pool_size=out, pool_timeout=60), Recorder()
    lifecycle = Lifecycle([connection], observers=[observer])
    may_end, holding = asyncio.Event(), 0

    async def job() -> None:
        nonlocal holding
        await (await db_session(connection)).execute(SELECT)
        holding += 1
        await may_end.wait()

    jobs = [asyncio.create_task(run_in_new_ctx(job)) for _ in range(out + waiting)]
    await until(lambda: holding == out, "the connections are out")
    assert observer.pools[0].read().pending == waiting
    with executed() as counted:
        jobs.append(asyncio.create_task(run_in_new_ctx(job)))
        await turns(20)
    may_end.set()
    await asyncio.gather(*jobs)
    await lifecycle.shut_down()
    return counted.instructions


async def test_a_checkout_that_waits_executes_the_same_in_a_large_pool_and_a_long_queue(database: Database) -> None:
    alone = await _executed_by_a_checkout_that_waits(database.url, 1, 1)
    among = await _executed_by_a_checkout_that_waits(database.url, 30, 30)
    # A loop over them takes a few instructions for each.
    assert alone > 0
    assert abs(among - alone) < 30
