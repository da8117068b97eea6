"""The end of an engine whose sessions may still be in flight, and whose server may answer no more."""

import asyncio
import weakref

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool, QueuePool
from sqlalchemy.util import greenlet_spawn

from ._runtime.shield import run_to_end

CLOSE_TIMEOUT = 2.0
"""Seconds that connections may take to say good-bye to their server before they are just dropped."""

# Pools that keep nothing: what comes back to them is closed.
_closing_on_return: "weakref.WeakSet[Pool]" = weakref.WeakSet()


async def dispose(engine: AsyncEngine, *, is_replaced: bool = False) -> None:
    """Dispose of an engine: idle connections are closed now, those of sessions in flight as they come back.

    A server that answers no more (its machine is gone, the network is cut) is not waited for: a driver that wants to
    hear from it before it closes a connection would wait for ever.

    Args:
        engine: the engine.
        is_replaced: another one is in use, so that nothing may stay open in this one. Sessions in flight may begin
            new transactions on it all the same.

    """
    pool = engine.sync_engine.pool
    if not isinstance(pool, QueuePool):
        await engine.dispose()
        return
    engine.sync_engine.dispose(close=False)
    _close_on_return(pool)
    # The pool that the engine has now.
    if is_replaced:
        _close_on_return(engine.sync_engine.pool)
    await run_to_end(_close_idle(pool))


def reuse(engine: AsyncEngine) -> None:
    """Take back that an engine keeps nothing open: an application may use one that was replaced before."""
    _closing_on_return.discard(engine.sync_engine.pool)


def _close_on_return(pool: Pool) -> None:
    loop = asyncio.get_running_loop()
    closing: set[asyncio.Task[None]] = set()

    def close_returned() -> None:
        task = loop.create_task(_close_idle(pool))
        closing.add(task)
        task.add_done_callback(closing.discard)

    def on_checkin(_dbapi_connection: object, _record: object) -> None:
        if pool in _closing_on_return:
            # The connection is in the pool only after this event.
            loop.call_soon(close_returned)

    _closing_on_return.add(pool)
    event.listen(pool, "checkin", on_checkin)


async def _close_idle(pool: Pool) -> None:
    idle = pool.checkedin() if isinstance(pool, QueuePool) else 0
    if not idle:
        return
    # Each closes what it finds, one by one. As many of them as there are connections, and none waits for another.
    closing = {asyncio.ensure_future(greenlet_spawn(pool.dispose)) for _ in range(idle)}
    _, late = await asyncio.wait(closing, timeout=CLOSE_TIMEOUT)
    for each in late:
        each.cancel()  # SQLAlchemy logs it, and the driver drops the connection.
    if late:
        await asyncio.wait(late)
