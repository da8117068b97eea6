"""Runs a coroutine to its end, even if its caller is cancelled meanwhile."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that runs in a task of its own, which no cancellation of the caller reaches.

    The coroutine must bound itself in time, because nothing else does.

    Args:
        work: the coroutine. It may use time-outs, task groups and whatever else cancels the task that it runs in.

    Raises:
        asyncio.CancelledError: the caller was cancelled meanwhile. The coroutine has ended all the same. If it failed,
            its exception is the ``__cause__``.
        RuntimeError: the coroutine ended by a CancelledError of its own, although nobody cancelled the caller.
        Exception: the coroutine raised it.

    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    task = loop.create_task(_announce_end(work, ended))
    # asyncio.run() cancels all tasks at its end. It waits for the caller, and the caller waits for this task, so that
    # the work runs to its end there too.
    asyncio._unregister_task(task)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType] - documented under "Extending asyncio"
    try:
        # Not the task itself, to which the caller's cancellation would be passed on.
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
    # A callback of the task would wake the caller one turn of the loop later.
    try:
        return await work
    finally:
        if not ended.done():
            ended.set_result(None)


async def _is_withdrawn_at_the_end_of(task: asyncio.Task[Any]) -> bool:
    """Wait for a task, whatever comes; return whether the caller's cancellation was withdrawn meanwhile."""
    caller = asyncio.current_task()
    cancellations = caller.cancelling() if caller is not None else 0
    anyio = sys.modules.get("anyio")
    if anyio is None:
        await _wait(task)
    else:
        # A cancelled anyio scope cancels again at each turn of the loop: without its own shield we would spin.
        with anyio.CancelScope(shield=True):
            await _wait(task)
    return caller is not None and caller.cancelling() < cancellations


async def _wait(task: asyncio.Task[Any]) -> None:
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            # The first cancellation is raised at the end, and asyncio.Task.cancelling() has counted this one.
            continue


def _failure(task: asyncio.Task[Any]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
