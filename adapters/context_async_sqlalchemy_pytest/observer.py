"""The observer that looks for the mistakes while a test runs."""

import asyncio
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from context_async_sqlalchemy.adapter_kit import Context, LoopTimer, await_chain, calling_places, context_or_none
from context_async_sqlalchemy.observer import Checkout, ContextRecord, Observer

from .findings import Finding, HeldIdle, LateTask, NestedCheckout, UnclosedContext
from .limits import Limits
from .places import Trail, described, is_in_sqlalchemy, of_application

_LOOKS_IN_A_LIMIT = 4
_SHORTEST_PAUSE = 0.001


@dataclasses.dataclass(slots=True, eq=False)
class _Hold:
    """A connection that is out, and where its holder was while it did not use the connection.

    Attributes:
        checkout: the record.
        task: the task that has checked the connection out.
        limit: the seconds for which it may be held idle, or None.
        idle_before: the idle seconds at the last look.
        idle_at: the idle seconds by the awaited place, with the places that have called it.

    """

    checkout: Checkout
    task: asyncio.Task[Any] | None
    limit: float | None
    idle_before: float = 0.0
    idle_at: dict[Trail, float] = dataclasses.field(default_factory=dict[Trail, float])

    def look(self) -> None:
        """Add the idle time since the last look to the place that the holder awaits now."""
        idle = self.checkout.idle_for(perf_counter_ns())
        grown, self.idle_before = idle - self.idle_before, idle
        if self.task is None or self.task.done():
            return
        places = list(await_chain(self.task.get_coro()))
        # A statement runs, or has been finished in this moment, so the code is not idle.
        if any(map(is_in_sqlalchemy, places)):
            return
        trail = of_application(reversed(places))
        if trail:
            self.idle_at[trail] = self.idle_at.get(trail, 0.0) + grown


class MistakeObserver(Observer):
    """Collects the mistakes of the test that runs. Threads of a test's servers may call it.

    Only contexts count: a session that a test or a fixture has made without a context is the test's own affair.

    Args:
        root: the folder by which files are named.

    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._limits = Limits()
        # Whether connections and contexts count that are taken or opened now: those of fixtures do not.
        self._is_call = False
        self._holds: dict[Checkout, _Hold] = {}
        self._contexts: dict[ContextRecord, Trail] = {}
        self._findings: list[Finding] = []
        self._timer = LoopTimer(self._look)

    def begin(self, limits: Limits) -> None:
        """Look at what begins from now on, which is the test itself without its fixtures."""
        self._limits = limits
        self._is_call = True

    def end_call(self) -> list[Finding]:
        """Stop to look at what begins, and return the mistakes so far that are over the limits."""
        self._is_call = False
        return self._take(HeldIdle, NestedCheckout, LateTask)

    def end(self) -> list[Finding]:
        """Return the mistakes since ``end_call``, and what is still open; forget the test."""
        holds = list(self._holds.values())
        for hold in holds:
            self._judge(hold, hold.checkout.idle_for(perf_counter_ns()))
        for context, place in list(self._contexts.items()):
            held = sum(hold.checkout.context is context for hold in holds)
            self._findings.append(UnclosedContext(context.route, held, described(place, self._root)))
        found = self._take(HeldIdle, NestedCheckout, LateTask, UnclosedContext)
        self._limits = Limits()
        self._holds.clear()
        self._contexts.clear()
        self._findings.clear()
        return found

    def context_began(self, context: ContextRecord) -> None:
        """Remember an open context, and where it has used its first connection."""
        if self._is_call and self._limits.unclosed_contexts is not None:
            self._contexts[context] = of_application(calling_places())

    def context_ended(self, context: ContextRecord) -> None:
        """Forget a context."""
        self._contexts.pop(context, None)

    def checkout_began(self, checkout: Checkout) -> None:
        """Look for nesting, and have the timer look where the code is while it holds the connection."""
        if not self._is_call or checkout.context is None:
            return
        task = _current_task()
        hold = _Hold(checkout, task, self._limits.held_idle)
        if self._limits.nested_checkouts is not None:
            self._look_for_nesting(hold)
        self._holds[checkout] = hold
        if hold.limit is not None and task is not None and task.get_loop() not in self._timer.loops:
            self._timer.start(_pause(hold.limit))

    def checkout_ended(self, checkout: Checkout) -> None:
        """Judge a hold that has ended."""
        hold = self._holds.pop(checkout, None)
        if hold is not None:
            self._judge(hold, checkout.idle_seconds)

    def context_used_late(self) -> None:
        """Record where an ended context was used."""
        if self._limits.late_tasks is None:
            return
        context = context_or_none()
        record = None if context is None else context.record
        task = _current_task()
        self._findings.append(
            LateTask(
                None if record is None else record.route,
                "code outside of any task" if task is None else f"task {task.get_name()!r}",
                described(of_application(calling_places()), self._root),
            )
        )

    def _look(self, loop: asyncio.AbstractEventLoop) -> float | None:
        pause: float | None = None
        for hold in list(self._holds.values()):
            if hold.limit is not None and hold.task is not None and hold.task.get_loop() is loop:
                hold.look()
                pause = min(_pause(hold.limit), pause or hold.limit)
        return pause

    def _look_for_nesting(self, hold: _Hold) -> None:
        around = set(_records_around(context_or_none()))
        for other in list(self._holds.values()):
            if other.checkout.pool is hold.checkout.pool and (
                (hold.task is not None and other.task is hold.task) or id(other.checkout.context) in around
            ):
                place = described(of_application(calling_places()), self._root)
                self._findings.append(NestedCheckout(hold.checkout.route, hold.checkout.pool.name, place))
                return

    def _judge(self, hold: _Hold, idle: float) -> None:
        if hold.limit is None or idle <= hold.limit:
            return
        checkout = hold.checkout
        held = checkout.hold_seconds if checkout.released_at else (perf_counter_ns() - checkout.taken_at) * 1e-9
        longest = max(hold.idle_at.items(), key=lambda entry: entry[1], default=None)
        awaited = None if longest is None else (described(longest[0], self._root), longest[1])
        self._findings.append(HeldIdle(checkout.route, checkout.pool.name, held, idle, hold.limit, awaited))

    def _take(self, *kinds: type[Finding]) -> list[Finding]:
        """Remove and return the findings of some kinds, if there are more of a kind than the test may have."""
        most: dict[type[Finding], float] = {
            HeldIdle: 0,
            NestedCheckout: self._limits.nested_checkouts or 0,
            LateTask: self._limits.late_tasks or 0,
            UnclosedContext: self._limits.unclosed_contexts or 0,
        }
        taken: list[Finding] = []
        for kind in kinds:
            found = [finding for finding in self._findings if isinstance(finding, kind)]
            if len(found) > most[kind]:
                taken += found
                self._findings = [finding for finding in self._findings if not isinstance(finding, kind)]
        return taken


def _pause(limit: float) -> float:
    return max(limit / _LOOKS_IN_A_LIMIT, _SHORTEST_PAUSE)


def _records_around(context: Context | None) -> Iterable[int]:
    """Yield the ids of the records of the open contexts that the current code is in."""
    while context is not None:
        if context.is_open and context.record is not None:
            yield id(context.record)
        context = context.parent


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        # No event loop runs in this thread.
        return None
