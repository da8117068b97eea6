"""Runs a coroutine to its end, even if its caller is cancelled meanwhile. See docs/decisions/0004."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that runs in a separate task, which no cancellation of the caller reaches.

    The coroutine must bound its own time, because no other code does.

    Args:
        work: the coroutine. It may use time-outs, task groups and other code that cancels the current task.

    Raises:
        asyncio.CancelledError: the caller was cancelled meanwhile. The coroutine has ended nevertheless. If the
            coroutine failed, its exception is the ``__cause__``.
        RuntimeError: the coroutine raised a CancelledError, although the caller was not cancelled.
        Exception: the coroutine raised it.

    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    task = loop.create_task(_announce_end(work, ended))
    # Unregistered, because asyncio.run() cancels all registered tasks at its end. asyncio.run() waits for the caller,
    # and the caller waits for this task, so the work runs to its end there too.
    asyncio._unregister_task(task)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType] - documented under "Extending asyncio"
    try:
        # A future is awaited and not the task, because asyncio would pass the caller's cancellation on to the task.
        await ended
    except asyncio.CancelledError as cancellation:
        if not await _is_withdrawn_at_the_end_of(task):
            raise cancellation from _failure(task)
    if task.cancelled():
        raise RuntimeError(
            "the end of a database context was cancelled, although nobody cancelled its caller: a commit hook or the "
            "database driver has let a CancelledError out"
        )
    return task.result()


async def _announce_end(work: Coroutine[Any, Any, T], ended: asyncio.Future[None]) -> T:
    # Set here, because a callback of the task would wake the caller one turn of the loop later.
    try:
        return await work
    finally:
        if not ended.done():
            ended.set_result(None)


async def _is_withdrawn_at_the_end_of(task: asyncio.Task[Any]) -> bool:
    """Wait for the end of a task, and return whether the caller's cancellation was withdrawn meanwhile."""
    caller = asyncio.current_task()
    cancellations = caller.cancelling() if caller is not None else 0
    anyio = sys.modules.get("anyio")
    if anyio is None:
        await _wait(task)
    else:
        # anyio's own shield, because a cancelled anyio scope cancels again at each turn of the loop. Otherwise this
        # task would spin.
        with anyio.CancelScope(shield=True):
            await _wait(task)
    return caller is not None and caller.cancelling() < cancellations


async def _wait(task: asyncio.Task[Any]) -> None:
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            # The caller raises the first cancellation at the end. asyncio.Task.cancelling() counts the later ones.
            continue


def _failure(task: asyncio.Task[Any]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
