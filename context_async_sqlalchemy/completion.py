"""Running a coroutine to its end, however often its caller is cancelled; but not for ever."""

import asyncio
import sys
from collections.abc import Coroutine
from time import monotonic
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
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    task = loop.create_task(_wake_at_the_end(coroutine, done))
    # For a task that is cancelled before its first step, which runs no code of its own.
    task.add_done_callback(lambda _task: _wake(done))
    try:
        await done
    except asyncio.CancelledError as cancellation:
        if not task.done():
            await _outlast_cancellations(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise cancellation from error
        raise
    return task.result()


async def _wake_at_the_end(coroutine: Coroutine[Any, Any, T], done: asyncio.Future[None]) -> T:
    # The task's own callbacks come one turn of the loop later; asyncio.shield takes two.
    try:
        return await coroutine
    finally:
        _wake(done)


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


class Watch:
    """Cancels tasks that stay in a section for too long.

    ``asyncio.timeout`` in its place costs about 2 % of a short transaction, a timer of its own as much: both
    schedule and cancel a timer each time. Here one timer serves all tasks, and runs only as often as the limit.

    Args:
        seconds: how long a task may stay.

    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entered: dict[asyncio.Task[Any], float] = {}
        self._cancelled: set[asyncio.Task[Any]] = set()
        self._looking: set[asyncio.AbstractEventLoop] = set()

    def enter(self) -> asyncio.Task[Any]:
        """Begin to watch the current task; give what is returned to ``leave``."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be watched: run this inside of asyncio.run() or a request")
        self._entered[task] = monotonic()
        loop = task.get_loop()
        if loop not in self._looking:
            self._looking = {other for other in self._looking if not other.is_closed()} | {loop}
            loop.call_later(self._seconds, self._look, loop)
        return task

    def leave(self, task: asyncio.Task[Any]) -> bool:
        """Watch a task no more; tell whether it was cancelled for staying too long."""
        self._entered.pop(task, None)
        if task in self._cancelled:
            self._cancelled.discard(task)
            return True
        return False

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = monotonic()
        next_due: float | None = None
        for task, since in list(self._entered.items()):
            if task.get_loop() is not loop:
                continue
            left = since + self._seconds - now
            if left <= 0:
                del self._entered[task]
                self._cancelled.add(task)
                task.cancel()
            elif next_due is None or left < next_due:
                next_due = left
        if next_due is None:
            self._looking.discard(loop)
        else:
            loop.call_later(next_due, self._look, loop)


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
