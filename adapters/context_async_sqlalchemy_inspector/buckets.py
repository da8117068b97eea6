"""What happened by route and by pool in the last five minutes, while a visitor looked."""

from collections import Counter, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from context_async_sqlalchemy.observer import OTHER_ROUTE

Sum = TypeVar("Sum")

WIDTH = 10_000_000_000
"""Nanoseconds of a bucket."""

BUCKETS = 30
"""How many buckets there are: five minutes."""

MOST_KEYS = 200
"""How many routes, or pools, one bucket tells apart. The rest count as one."""

_MOST_LINES = 5


class RouteSum:
    """What the sessions of one route did in one bucket, in nanoseconds."""

    __slots__ = ("early_releases", "held", "idle", "lines", "sessions")

    def __init__(self) -> None:
        self.sessions = 0
        self.held = 0
        self.idle = 0
        self.early_releases = 0
        # The lines at which sessions were seen that held a connection idle.
        self.lines: Counter[str] = Counter()

    def seen_at(self, line: str) -> None:
        """Count a line at which a session held a connection idle."""
        if line in self.lines or len(self.lines) < _MOST_LINES:
            self.lines[line] += 1

    def add(self, other: "RouteSum") -> None:
        """Add what happened in another bucket."""
        self.sessions += other.sessions
        self.held += other.held
        self.idle += other.idle
        self.early_releases += other.early_releases
        self.lines.update(other.lines)


class PoolSum:
    """What happened in one pool in one bucket, in nanoseconds."""

    __slots__ = ("checkouts", "given_back", "held", "idle")

    def __init__(self) -> None:
        self.checkouts = 0
        self.held = 0
        self.idle = 0
        self.given_back = 0

    def add(self, other: "PoolSum") -> None:
        """Add what happened in another bucket."""
        self.checkouts += other.checkouts
        self.held += other.held
        self.idle += other.idle
        self.given_back += other.given_back


class Buckets(Generic[Sum]):
    """Sums by key, in a ring of buckets of time.

    Args:
        make: returns an empty sum.

    """

    def __init__(self, make: type[Sum]) -> None:
        self._make = make
        self._ring: deque[tuple[int, dict[str, Sum]]] = deque(maxlen=BUCKETS)

    def at(self, instant: int, key: str) -> Sum:
        """Return the sum of a key in the bucket of an instant.

        Args:
            instant: nanoseconds.
            key: the route, or the key of the pool.

        """
        number = instant // WIDTH
        ring = self._ring
        if not ring or ring[-1][0] < number:
            ring.append((number, {}))
        sums = ring[-1][1]
        found = sums.get(key)
        if found is None:
            if len(sums) >= MOST_KEYS:
                key = OTHER_ROUTE
            found = sums.setdefault(key, self._make())
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._ring.clear()

    def recent(self, now: int) -> Iterator[tuple[str, Sum]]:
        """Yield the sums of the last five minutes.

        Args:
            now: the present instant.

        """
        first = now // WIDTH - BUCKETS
        for number, sums in self._ring:
            if number > first:
                yield from sums.items()
