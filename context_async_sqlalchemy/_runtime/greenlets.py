"""Greenlets that outlast a call: SQLAlchemy makes one for each, which costs more than most of what it runs there.

CPython maps 16 KB of memory for the frames of a new greenlet, and unmaps them when it ends (``allocate_chunk`` in
Python/pystate.c, 3.11 to 3.13). In a service that is 25 to 30 us, 5 % of a request with two SELECTs; one that waits for
its next call has that memory, and the processor has it in its caches.
"""

import sys
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import greenlet  # type: ignore[import-untyped] # it has no types; it is what sqlalchemy[asyncio] stands for
from sqlalchemy.util import await_only, greenlet_spawn

_MOST_KEPT = 64
"""In each thread: at most so many are ready for calls that are made at the same time."""

_DEEPEST = 100
"""Frames. A greenlet counts the frames of its maker against the recursion limit as long as it lives."""


class _Nothing:
    """An awaitable that does not wait, and gives None."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


_NOTHING = _Nothing()


class _KeptGreenlet:
    """A greenlet of SQLAlchemy's making that runs one call after another; a call that raises is its last.

    Attributes:
        call: what it runs next.
        coroutine: what drives it; it yields the object itself when a call has ended.

    """

    __slots__ = ("_greenlet", "call", "coroutine")

    def __init__(self) -> None:
        self.call: Callable[[], object] | None = None
        self._greenlet: Any = None
        self.coroutine: Coroutine[Any, Any, None] = greenlet_spawn(self._work)
        self.coroutine.send(None)

    def enter(self, driver: Any) -> None:
        """Have the contextvars of the current task."""
        self._greenlet.gr_context = driver.gr_context

    def leave(self) -> None:
        """Let go of the contextvars, which may hold a request."""
        self._greenlet.gr_context = None

    def __await__(self) -> Generator[Any, Any, None]:
        yield self

    def _work(self) -> None:
        self._greenlet = greenlet.getcurrent()
        while True:
            await_only(self)
            # Not kept until the next one: it holds a session.
            call, self.call = self.call, None
            if call is not None:
                call()
            call = None
            # SQLAlchemy's coroutine keeps the last value that the call awaited until it has another one.
            await_only(_NOTHING)


class _Idle:
    """The greenlets of a thread that wait for a call."""

    def __init__(self) -> None:
        self.greenlets: list[_KeptGreenlet] = []
        self._thread = threading.get_ident()

    def __del__(self) -> None:
        # The collector does not see what a suspended greenlet holds. Nobody else may end those of a thread.
        if threading.get_ident() == self._thread:
            for kept in self.greenlets:
                kept.coroutine.close()


class _Thread(threading.local):
    def __init__(self) -> None:
        self.idle = _Idle()


_thread = _Thread()


def _is_shallow() -> bool:
    try:
        # It is documented, and makes no object of each frame, as a walk along ``f_back`` would.
        sys._getframe(_DEEPEST)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    except ValueError:
        return True
    return False


@types.coroutine
def run_in_kept_greenlet(call: Callable[[], object]) -> Generator[Any, Any, None]:
    """Make a synchronous call of SQLAlchemy's as ``greenlet_spawn`` does, in a greenlet that was kept if there is one.

    Args:
        call: without arguments; what it returns is dropped.

    Raises:
        Exception: what the call has raised.

    """
    idle = _thread.idle.greenlets
    driver = greenlet.getcurrent()
    if driver.parent is not None or not (idle or _is_shallow()):
        # A greenlet that is kept has the thread's main greenlet as its parent, and few frames below it.
        yield from greenlet_spawn(call)
        return
    kept = idle.pop() if idle else _KeptGreenlet()
    kept.enter(driver)
    kept.call = call
    coroutine = kept.coroutine
    awaited = coroutine.send(None)
    while awaited is not kept:
        try:
            value = yield awaited
        except BaseException as error:  # noqa: BLE001 - a cancellation too: the call gets it where it waits
            awaited = coroutine.throw(error)
        else:
            awaited = coroutine.send(value)
    kept.leave()
    if len(idle) < _MOST_KEPT:
        idle.append(kept)
    else:
        coroutine.close()
