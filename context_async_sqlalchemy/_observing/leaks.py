"""Leak detection: finds connections that are held for too long, and the code that holds them."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import PurePath
from time import perf_counter_ns
from types import CodeType
from typing import Any

from context_async_sqlalchemy._runtime.loop_timer import LoopTimer, next_look
from context_async_sqlalchemy._runtime.places import await_chain, calling_frame
from context_async_sqlalchemy.observer import SuspectedLeak

from .listeners import Listeners, notify
from .open_checkout import OpenCheckout

logger = logging.getLogger("context_async_sqlalchemy")

_FRAMES = 12


class LeakWatch:
    """Looks for leaks among the open checkouts of one pool, by one timer in each event loop.

    Args:
        list_open: returns the open checkouts of the pool.
        listeners: the methods of observers that are called.

    """

    def __init__(self, list_open: Callable[[], list[OpenCheckout]], listeners: Listeners) -> None:
        self.listeners = listeners
        self._list_open = list_open
        self._timer = LoopTimer(self._look)

    def watch(self, checkout: OpenCheckout, threshold: float) -> None:
        """Record the task that holds a connection; have the timer look again after the threshold (seconds)."""
        task = checkout.task = asyncio.current_task()
        if task is None:
            return
        if self.listeners.leak_stacks:
            checkout.stack = _caller()
        if task.get_loop() not in self._timer.loops:
            self._timer.start(threshold)

    def returned(self, checkout: OpenCheckout) -> None:
        """Forget the task; warn, and tell the observers, if the returned connection was suspected."""
        checkout.task = None
        if not checkout.suspected_after:
            return
        held = checkout.held_for(checkout.released_at)
        logger.warning(
            "pool %r: the connection suspected to be leaked by %s came back after %.2f s",
            checkout.pool.name,
            checkout.route,
            held,
        )
        if self.listeners.leak_returned:
            notify(self.listeners.leak_returned, SuspectedLeak(checkout, held, ""))

    def _look(self, loop: asyncio.AbstractEventLoop) -> float | None:
        threshold = self.listeners.leak_threshold
        if threshold is None:
            return None
        now = perf_counter_ns()
        next_due: float | None = None
        for checkout in self._list_open():
            if checkout.suspected_after or checkout.task is None or checkout.task.get_loop() is not loop:
                continue
            held = checkout.held_for(now)
            if held >= threshold:
                self._suspect(checkout, held)
            elif next_due is None or threshold - held < next_due:
                next_due = threshold - held
        return next_look(next_due, threshold)

    def _suspect(self, checkout: OpenCheckout, held: float) -> None:
        checkout.suspected_after = held
        leak = SuspectedLeak(checkout, held, _whereabouts(checkout.task))
        taken = "" if checkout.stack is None else f" It was taken at: {_described(checkout.stack)}."
        logger.warning(
            "pool %r: %s has held a connection for %.2f s, more than leak_threshold: a leak is suspected. Its holder "
            "is now at: %s.%s Give it back before slow work (await commit_db_session(connection)), and close sessions "
            "and connections of your own in an 'async with' block",
            checkout.pool.name,
            checkout.route,
            held,
            leak.holder,
            taken,
        )
        notify(self.listeners.leak_suspected, leak)


def _whereabouts(task: asyncio.Task[Any] | None) -> str:
    """Return where a task is: the functions of the coroutines that await each other."""
    if task is None:
        return "unknown"
    if task.done():
        return f"nowhere: its task {task.get_name()!r} has ended without giving it back"
    places = [_place(*place) for place in await_chain(task.get_coro())]
    return " > ".join(places[-_FRAMES:]) or f"task {task.get_name()!r}"


def _caller() -> list[tuple[CodeType, int]]:
    """Return the stack of the application.

    The stack is code objects and positions, because a formatted stack is slower. A suspicion is rare, so its warning
    formats the stack.
    """
    frame = calling_frame()
    stack: list[tuple[CodeType, int]] = []
    while frame is not None and len(stack) < _FRAMES:
        stack.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return stack


def _described(stack: list[tuple[CodeType, int]]) -> str:
    places: list[str] = []
    for code, instruction in stack:
        if "sqlalchemy" not in PurePath(code.co_filename).parts:
            places.append(_place(code, _line_of(code, instruction)))
    return " > ".join(reversed(places))


def _line_of(code: CodeType, instruction: int) -> int:
    for start, end, line in code.co_lines():
        if line is not None and start <= instruction < end:
            return line
    return code.co_firstlineno


def _place(code: CodeType, line: int) -> str:
    return f"{code.co_qualname} ({PurePath(code.co_filename).name}:{line})"
