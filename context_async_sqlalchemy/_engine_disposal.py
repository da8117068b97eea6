"""Disposes of an engine whose sessions may still be in flight, and whose server may have stopped answering."""

import asyncio
import weakref
from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool, QueuePool
from sqlalchemy.util import greenlet_spawn

from ._runtime.shield import run_to_end

CLOSE_TIMEOUT = 2.0
"""Seconds that connections get to close cleanly before they are dropped."""

# Pools whose connections are closed when they are returned, with the "checkin" listener that closes them.
_closing_on_return: "weakref.WeakKeyDictionary[Pool, Callable[..., None]]" = weakref.WeakKeyDictionary()

# The tasks that close returned connections, with their pools. The event loop itself does not keep its tasks alive.
_closing_tasks: dict[asyncio.Task[None], Pool] = {}


async def dispose(engine: AsyncEngine, *, is_replaced: bool = False) -> None:
    """Close the idle connections of an engine now, and those of sessions in flight when they are returned.

    This waits at most ``CLOSE_TIMEOUT`` for the server. A driver that waits for the server's answer before it closes a
    connection would otherwise wait for ever if the machine is gone or the network is cut.

    Args:
        engine: the engine.
        is_replaced: whether another engine is in use now. Sessions in flight may still begin transactions on this
            engine, and none of its connections may stay open.

    """
    pool = engine.sync_engine.pool
    if not isinstance(pool, QueuePool):
        await engine.dispose()
        return
    # SQLAlchemy copies the listeners of the old pool to the new one.
    _keep_on_return(pool)
    engine.sync_engine.dispose(close=False)
    _close_on_return(pool)
    if is_replaced:
        _close_on_return(engine.sync_engine.pool)
    await run_to_end(_close_idle(pool))


def reuse(engine: AsyncEngine) -> None:
    """Let an engine keep idle connections again, because an application may return to an engine that was replaced."""
    _keep_on_return(engine.sync_engine.pool)


async def close_returned(pool: Pool) -> None:
    """Close the connections that have come back to the pool of a disposed engine, and wait until they are closed."""
    # The pool's listener makes its task in the next turn of the loop.
    await asyncio.sleep(0)
    await _close_idle(pool)
    if tasks := [task for task, closing in list(_closing_tasks.items()) if closing is pool]:
        await asyncio.wait(tasks)


def _close_on_return(pool: Pool) -> None:
    loop = asyncio.get_running_loop()
    # A value of the dictionary must not keep its key alive.
    reference = weakref.ref(pool)

    def on_checkin(_dbapi_connection: object, _record: object) -> None:
        returned_to = reference()
        if returned_to is not None and not loop.is_closed():
            # The connection is in the pool only after this event.
            loop.call_soon(_close_returned, returned_to)

    _closing_on_return[pool] = on_checkin
    event.listen(pool, "checkin", on_checkin)


def _keep_on_return(pool: Pool) -> None:
    listener = _closing_on_return.pop(pool, None)
    if listener is not None:
        event.remove(pool, "checkin", listener)


def _close_returned(pool: Pool) -> None:
    task = asyncio.get_running_loop().create_task(_close_idle(pool))
    _closing_tasks[task] = pool
    task.add_done_callback(_closing_tasks.pop)


async def _close_idle(pool: Pool) -> None:
    idle = pool.checkedin() if isinstance(pool, QueuePool) else 0
    if not idle:
        return
    # One ``dispose()`` per idle connection, run concurrently, so that a hanging connection does not delay the others.
    closing = {asyncio.ensure_future(greenlet_spawn(pool.dispose)) for _ in range(idle)}
    _, late = await asyncio.wait(closing, timeout=CLOSE_TIMEOUT)
    for each in late:
        each.cancel()  # SQLAlchemy logs the cancellation, and the driver drops the connection.
    if late:
        await asyncio.wait(late)
