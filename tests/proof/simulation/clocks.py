"""Clocks: the library's modules read the virtual time of a simulated loop while a schedule runs."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from tests.proof.simulation.loop import SimulatedLoop

_LIBRARY = "context_async_sqlalchemy"


@contextmanager
def virtual_time(loop: SimulatedLoop) -> Generator[None]:
    """Let every module of the library that has imported a clock from ``time`` read a loop's clock.

    The loop's own ``time()`` serves asyncio. The library measures beside it, and a time limit that looks at the real
    clock would never be reached in a schedule that takes some milliseconds.
    """
    clocks: dict[object, Callable[[], float]] = {
        time.monotonic: loop.time,
        time.perf_counter: loop.time,
        time.time: loop.time,
        time.monotonic_ns: lambda: loop.nanoseconds,
        time.perf_counter_ns: lambda: loop.nanoseconds,
        time.time_ns: lambda: loop.nanoseconds,
    }
    replaced: list[tuple[dict[str, object], str, object]] = []
    for name, module in list(sys.modules.items()):
        if name.startswith(_LIBRARY):
            names = vars(module)
            for attribute, value in list(names.items()):
                if callable(value) and getattr(value, "__module__", None) == "time" and value in clocks:
                    replaced.append((names, attribute, value))
                    names[attribute] = clocks[value]
    try:
        yield
    finally:
        for names, attribute, value in replaced:
            names[attribute] = value
