"""Running a coroutine to its end, however often its caller is cancelled."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a task of its own and wait for it, then re-raise a cancellation that came meanwhile.

    A COMMIT that is interrupted costs the physical connection and leaves its outcome unknown, so whatever
    talks to the database at the end of a context goes through here.

    Args:
        coroutine: the work; it must be bounded in time by itself.

    Raises:
        asyncio.CancelledError: the caller was cancelled while the work ran. The work has ended all the same;
            if it failed, its exception is the ``__cause__``.

    """
    task = asyncio.get_running_loop().create_task(coroutine)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError as cancellation:
        if task.done():
            raise
        await _outlast_cancellations(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise cancellation from error
        raise


async def _outlast_cancellations(task: asyncio.Task[Any]) -> None:
    anyio = sys.modules.get("anyio")
    if anyio is None:
        await _wait(task)
    else:
        # A cancelled anyio scope cancels again at each turn of the loop: without its own shield we would spin.
        with anyio.CancelScope(shield=True):
            await _wait(task)


async def _wait(task: asyncio.Task[Any]) -> None:
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            # The first cancellation is re-raised by run_to_end; asyncio.Task.cancelling() has counted this one.
            continue
