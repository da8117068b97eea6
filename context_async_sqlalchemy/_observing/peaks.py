"""The peaks of a pool: the most connections in use, and the most waits, since the last scrapes."""

from time import perf_counter_ns

from context_async_sqlalchemy.observer import PoolPeaks

_WINDOW = 60_000_000_000
"""Nanoseconds: longer than most scrape intervals, so that each of several scrapers sees each peak."""


class Peaks:
    """The highest numbers of the current window. A reading gets them together with those of the previous window.

    So a reading covers at least the last minute, and at least the time since the last reading. A reading that came
    early, such as a second scraper's, hides no peak from the next one.

    Attributes:
        used: the most connections in use in the current window. The pool raises it.
        pending: the most waits in the current window. The pool raises it.

    """

    def __init__(self) -> None:
        self.used = 0
        self.pending = 0
        self._previous = PoolPeaks(0, 0)
        self._began_at = perf_counter_ns()

    def read(self, used: int, pending: int) -> PoolPeaks:
        """Return the peaks of both windows, and begin a new window if the current one is over.

        Args:
            used: the number of connections in use now.
            pending: the number of waits now.

        """
        current, previous = PoolPeaks(max(self.used, used), max(self.pending, pending)), self._previous
        now = perf_counter_ns()
        if now - self._began_at >= _WINDOW:
            self._began_at, self._previous = now, current
            self.used, self.pending = used, pending
        return PoolPeaks(max(current.used, previous.used), max(current.pending, previous.pending))
