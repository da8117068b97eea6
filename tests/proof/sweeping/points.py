"""The suspension points of a piece of work: each time that a task of it yields to the event loop."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

Strike = Callable[[Any], None]
"""Is given what the task at the point is about to wait for."""


class Meter:
    """Counts the suspension points of a piece of work and of the tasks that it starts, and strikes at some.

    Args:
        waits: whether to count from the call of ``begin`` only.

    """

    def __init__(self, *, waits: bool = False) -> None:
        self.points = 0
        self.is_running = True
        self._waits = waits
        self._strikes: dict[int, list[Strike]] = {}

    def strike(self, point: int, strike: Strike) -> None:
        """Have something done at a point; the first has the number 1, and 0 is ``begin``."""
        self._strikes.setdefault(point, []).append(strike)

    @property
    def has_struck(self) -> bool:
        """Whether all of the strikes were made."""
        return not self._waits and all(point <= self.points for point in self._strikes)

    def begin(self) -> None:
        """Begin to count, if that has been waited for."""
        if self._waits:
            self._waits = False
            for strike in self._strikes.get(0, ()):
                strike(None)

    async def measure(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the work, in the task of the caller."""
        token = _METER.set(self)
        try:
            result: T = await Measured(work, self)
            return result
        finally:
            self.is_running = False
            _METER.reset(token)

    def reached(self, awaited: Any) -> None:
        """Count a point; strike if it is one to strike at."""
        if not self.is_running or self._waits:
            return
        self.points += 1
        for strike in self._strikes.get(self.points, ()):
            strike(awaited)


_METER: ContextVar[Meter | None] = ContextVar("_METER", default=None)


class Measured(Coroutine[Any, Any, T], Generator[Any, Any, T]):
    """A coroutine whose suspension points a meter counts.

    Args:
        coroutine: the coroutine.
        meter: the meter.

    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], meter: Meter) -> None:
        self._coroutine = coroutine
        self._meter = meter

    def __await__(self) -> Self:
        return self

    def send(self, value: Any, /) -> Any:
        return self._passed(self._coroutine.send(value))

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Any:
        error = typ if isinstance(typ, BaseException) else typ(val)
        return self._passed(self._coroutine.throw(error if tb is None else error.with_traceback(tb)))

    def close(self) -> None:
        self._coroutine.close()

    def _passed(self, awaited: Any) -> Any:
        self._meter.reached(awaited)
        return awaited


class WatchedTask(asyncio.Task[T]):
    """A task that tells when it is cancelled, whoever does that."""

    on_cancel: Callable[[], None] | None = None

    def cancel(self, msg: Any = None) -> bool:
        if self.on_cancel is not None and not self.done():
            self.on_cancel()
        return super().cancel(msg)


def make_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
    *,
    context: Context | None = None,
    **options: Any,
) -> asyncio.Task[T]:
    """Make a task: the event loop's task factory during a sweep.

    A task that measured work starts is measured too: the library may let a task of its own do a part of it.
    """
    assert isinstance(coroutine, Coroutine)
    meter = _METER.get() if context is None else context.get(_METER)
    if meter is not None and meter.is_running:
        coroutine = Measured(coroutine, meter)
    return WatchedTask(coroutine, loop=loop, context=context, **options)
