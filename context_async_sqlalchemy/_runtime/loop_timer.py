"""A timer that looks at something from time to time, and rests while there is nothing to look at."""

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger("context_async_sqlalchemy")

_LOOKS = 100
"""The most looks within a limit of time."""


class LoopTimer:
    """One timer in each event loop, so that each piece of work does without a timer of its own.

    Args:
        look: called in an event loop with that loop. It returns the seconds until its next call, or None to rest
            until :meth:`start` is called again. An exception is logged, and the timer rests.

    Attributes:
        loops: the event loops in which the timer runs. A caller on a hot path looks here before it calls
            :meth:`start`.

    """

    def __init__(self, look: Callable[[asyncio.AbstractEventLoop], float | None]) -> None:
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self._look = look

    def start(self, delay: float) -> None:
        """Have the running event loop call ``look`` after a delay, unless the timer runs there already.

        Args:
            delay: seconds until the first look.

        Raises:
            RuntimeError: no event loop is running.

        """
        loop = asyncio.get_running_loop()
        if loop in self.loops:
            return
        # A loop that was closed never calls back, so its timer would stay in the set. The set is changed in place,
        # because the loops of other threads add themselves at the same time.
        for other in list(self.loops):
            if other.is_closed():
                self.loops.discard(other)
        self.loops.add(loop)
        loop.call_later(delay, self._run, loop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        delay: float | None = None
        try:
            delay = self._look(loop)
        except Exception:
            logger.exception("a timer of the event loop has failed; it runs again when it is next started")
        finally:
            # The loop leaves the set whatever `look` raises: otherwise no later start would have an effect.
            if delay is None:
                self.loops.discard(loop)
            else:
                loop.call_later(delay, self._run, loop)


def next_look(left: float | None, limit: float) -> float | None:
    """Return the seconds until the next look at things that must not last longer than a limit.

    A look passes over all of them. If many hang one after another, a look for each would cost the square of their
    number. So a thing may last a hundredth longer than the limit.

    Args:
        left: seconds until the next of them reaches the limit, or None if none is left.
        limit: seconds.

    """
    return None if left is None else max(left, limit / _LOOKS)
