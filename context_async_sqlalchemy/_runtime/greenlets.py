"""Reuses greenlets. SQLAlchemy starts one per call, and starting it often costs more than the call.

CPython maps 16 KB of memory for the frames of a new greenlet, and unmaps the memory when the greenlet ends
(``allocate_chunk`` in Python/pystate.c, 3.11 to 3.13). A greenlet that waits for its next call keeps this memory.
"""

import sys
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import greenlet  # type: ignore[import-untyped] # it has no types; it is what sqlalchemy[asyncio] stands for
from sqlalchemy.util import await_only, greenlet_spawn

_MOST_KEPT = 64
"""The most idle greenlets of a thread, ready for concurrent calls."""

_DEEPEST = 100
"""The most frames below the maker of a reused greenlet.

A greenlet counts the frames below its maker against the recursion limit of every call that it runs.
"""


class _Nothing:
    """An awaitable that returns None without a wait."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


_NOTHING = _Nothing()


class _KeptGreenlet:
    """A greenlet of SQLAlchemy's that runs one call after another. A call that raises ends the greenlet.

    Attributes:
        call: the next call.
        coroutine: SQLAlchemy's coroutine that runs the greenlet. It yields this object when a call has ended.

    """

    __slots__ = ("_greenlet", "call", "coroutine")

    def __init__(self) -> None:
        self.call: Callable[[], object] | None = None
        self._greenlet: Any = None
        self.coroutine: Coroutine[Any, Any, None] = greenlet_spawn(self._work)
        self.coroutine.send(None)

    def enter(self, driver: Any) -> None:
        """Use the contextvars of the current task."""
        self._greenlet.gr_context = driver.gr_context

    def leave(self) -> None:
        """Drop the contextvars, because they may hold a request."""
        self._greenlet.gr_context = None

    def __await__(self) -> Generator[Any, Any, None]:
        yield self

    def _work(self) -> None:
        self._greenlet = greenlet.getcurrent()
        while True:
            await_only(self)
            # The call is dropped, because it holds a session.
            call, self.call = self.call, None
            if call is not None:
                call()
            call = None
            # SQLAlchemy's coroutine keeps the last awaited value until it awaits another one.
            await_only(_NOTHING)


class _Idle:
    """The idle greenlets of a thread."""

    def __init__(self) -> None:
        self.greenlets: list[_KeptGreenlet] = []
        self._thread = threading.get_ident()

    def __del__(self) -> None:
        # The garbage collector cannot see into a suspended greenlet, so it is closed here. Only its thread may do that.
        if threading.get_ident() == self._thread:
            for kept in self.greenlets:
                kept.coroutine.close()


class _Thread(threading.local):
    def __init__(self) -> None:
        self.idle = _Idle()


_thread = _Thread()


def _is_shallow() -> bool:
    try:
        # This is documented. A walk along ``f_back`` would be slower, because it makes an object for each frame.
        sys._getframe(_DEEPEST)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    except ValueError:
        return True
    return False


@types.coroutine
def run_in_kept_greenlet(call: Callable[[], object]) -> Generator[Any, Any, None]:
    """Run a synchronous call of SQLAlchemy's as ``greenlet_spawn`` does, in an idle greenlet if there is one.

    Args:
        call: a function without arguments. Its result is dropped.

    Raises:
        Exception: the call raised it.

    """
    idle = _thread.idle.greenlets
    driver = greenlet.getcurrent()
    if driver.parent is not None or not (idle or _is_shallow()):
        # A reused greenlet has the thread's main greenlet as its parent, and few frames below its maker.
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
