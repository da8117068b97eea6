"""Cancels tasks that stay in a section for too long, by one timer for all of them."""

import asyncio
from time import monotonic
from typing import Any

from .loop_timer import LoopTimer, next_look

AnyTask = asyncio.Task[Any]


class TimeLimit:
    """A limit of time for a section of code that many tasks pass through.

    ``asyncio.timeout`` would schedule and cancel a timer for each passage. A task that passes the limit is cancelled
    once. The task must be one that nobody else awaits for its cancellation: there is no ``uncancel()``.

    Args:
        seconds: how long a task may stay in the section; it is cancelled up to a hundredth later.

    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # None: the task has passed the limit.
        self._entered: dict[AnyTask, float | None] = {}
        self._timer = LoopTimer(self._look)

    def enter(self, task: AnyTask) -> None:
        """Begin the section in the current task; :meth:`leave` must follow."""
        self._entered[task] = monotonic()
        if task.get_loop() not in self._timer.loops:
            self._timer.start(self._seconds)

    def leave(self, task: AnyTask) -> bool:
        """End the section; return whether the task was cancelled because it had passed the limit."""
        return self._entered.pop(task) is None

    def _look(self, loop: asyncio.AbstractEventLoop) -> float | None:
        now = monotonic()
        next_due: float | None = None
        for task, since in list(self._entered.items()):
            if since is None or task.get_loop() is not loop:
                continue
            left = since + self._seconds - now
            if left <= 0:
                self._entered[task] = None
                task.cancel()
            elif next_due is None or left < next_due:
                next_due = left
        return next_look(next_due, self._seconds)
