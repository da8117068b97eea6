"""What the load driver records, in little memory however long it runs."""

import math
from collections import Counter
from dataclasses import dataclass, field

# Latencies are kept as counts per bucket; a bucket's edges are 2 % apart, so a percentile is right within 1 %.
_BUCKET_RATIO = math.log(1.02)
_SHORTEST_SECONDS = 1e-6


class Latencies:
    """A distribution of seconds."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Record one latency."""
        self._buckets[round(math.log(max(seconds, _SHORTEST_SECONDS)) / _BUCKET_RATIO)] += 1

    def milliseconds(self, percent: int) -> float:
        """Give a percentile in milliseconds; NaN if nothing was recorded.

        Args:
            percent: 50 for the median.

        """
        left = math.ceil(self._buckets.total() * percent / 100)
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return math.exp(bucket * _BUCKET_RATIO) * 1000
        return math.nan


@dataclass
class RouteTally:
    """What one route has answered.

    Args:
        expected: the status that every answer should have.

    """

    expected: int
    statuses: Counter[str] = field(default_factory=Counter[str])
    latencies: Latencies = field(default_factory=Latencies)

    @property
    def requests(self) -> int:
        """How many requests were made."""
        return self.statuses.total()

    @property
    def as_expected(self) -> int:
        """How many were answered as they should be."""
        return self.statuses[str(self.expected)]

    def add(self, status: str, seconds: float) -> None:
        """Record an answer: its status, or the name of the error that came in its place."""
        self.statuses[status] += 1
        self.latencies.add(seconds)


@dataclass
class PhaseTally:
    """What one phase of the load has recorded.

    Args:
        name: what the phase is called on the screen.
        routes: the tallies by route.
        seconds: how long it has taken so far.
        most_waiting: how many waited for a connection at most.
        had_to_wait: how many checkouts had to wait.
        waiting: how many waited, at equal intervals.

    """

    name: str
    routes: dict[str, RouteTally]
    seconds: float = 0.0
    most_waiting: int = 0
    had_to_wait: int = 0
    waiting: list[int] = field(default_factory=list[int])

    @property
    def requests(self) -> int:
        """How many requests were made."""
        return sum(route.requests for route in self.routes.values())

    @property
    def per_second(self) -> float:
        """How many requests were answered per second."""
        return self.requests / self.seconds if self.seconds else 0.0
