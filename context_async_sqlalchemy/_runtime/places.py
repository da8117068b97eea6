"""Finds the code that a task awaits at, and the code that is running now."""

import asyncio
import inspect
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

import greenlet  # type: ignore[import-untyped] # it has no types; it is what sqlalchemy[asyncio] stands for

Place = tuple[CodeType, int]
"""A function's code, and a number of a line in it."""


def await_chain(awaited: Any) -> Iterator[Place]:
    """Yield the places of coroutines that await each other, the outermost first.

    Args:
        awaited: a coroutine, for example that of a task. The chain ends at the first object that is no coroutine and
            no generator, such as a future.

    """
    while awaited is not None:
        for prefix, after in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(awaited, f"{prefix}_frame", None)
            if isinstance(frame, FrameType):
                yield frame.f_code, frame.f_lineno
                awaited = getattr(awaited, after)
                break
        else:
            return


def task_or_none() -> asyncio.Task[Any] | None:
    """Return the task that is running, or None outside of an event loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def calling_frame() -> FrameType | None:
    """Return the innermost frame of the application. SQLAlchemy runs in a greenlet whose parent runs the application.

    Without such a greenlet the frame is that of the caller of this function.
    """
    parent = greenlet.getcurrent().parent
    if parent is not None:
        frame: FrameType | None = parent.gr_frame
        return frame
    here = inspect.currentframe()
    return None if here is None else here.f_back


def calling_places() -> Iterator[Place]:
    """Yield the places of the running code, the innermost first, beginning at ``calling_frame``."""
    frame = calling_frame()
    while frame is not None:
        yield frame.f_code, frame.f_lineno
        frame = frame.f_back
