"""How long a checkout may wait for a connection. Nothing here has a clock, a timer or a pool.

All instants are seconds of one monotonic clock, which the caller reads.
"""

import math
from typing import Literal

from context_async_sqlalchemy._redaction import kind_of

MaxWait = float | Literal["adaptive"] | None
"""Seconds, ``"adaptive"`` for :class:`AdaptiveLimit`, or None for no limit."""

TARGET = 0.05
"""Seconds that a wait may last while a pool keeps up with its load, as in Elixir's DBConnection."""

INTERVAL = 1.0
"""Seconds within which one wait must be shorter than the target, as in Elixir's DBConnection."""


class FixedLimit:
    """Lets every checkout wait for the same time.

    Args:
        seconds: the longest wait; infinity for no limit.

    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.least_wait: float | None = None

    def look(self, asked_at: float, now: float, oldest: float) -> float | None:  # noqa: ARG002 - see AdaptiveLimit
        """Return the instant at which to ask again, or None if the checkout must not wait any longer."""
        until = asked_at + self.seconds
        return until if now < until else None

    def served(self, waited: float, now: float) -> None:
        """Do nothing, because the limit is the same however long others have waited."""

    def __str__(self) -> str:
        return f"max_wait={self.seconds:g}"


class AdaptiveLimit:
    """Lets checkouts wait as long as the queue drains, and for a short time only while it does not (CoDel).

    A burst makes a queue that drains: sooner or later a checkout gets its connection within the target. If no checkout
    of a whole interval did, the queue stands, and to wait in it helps no request. In the next interval each checkout
    may wait for twice the target. "Controlling Queue Delay" (Nichols, Jacobson, 2012) has the idea, and
    DBConnection.ConnectionPool of Elixir's db_connection this form.

    Args:
        target: seconds.
        interval: seconds.

    Attributes:
        least_wait: the shortest wait of this interval, or None if no checkout has got a connection. The pool sets it
            to 0.0 when a checkout finds a connection without a wait.
        is_overloaded: whether no checkout of the last interval got its connection within the target.

    """

    def __init__(self, target: float = TARGET, interval: float = INTERVAL) -> None:
        self.target = target
        self.seconds = 2 * target
        self.least_wait: float | None = None
        self.is_overloaded = False
        self._interval = interval
        self._ends_at = -math.inf

    def look(self, asked_at: float, now: float, oldest: float) -> float | None:
        """Return the instant at which to ask again, or None if the checkout must not wait any longer.

        Args:
            asked_at: the instant at which the checkout began to wait.
            now: the present instant.
            oldest: the instant at which the longest of all present waits began.

        """
        self._turn(now, now - oldest)
        until = asked_at + self.seconds
        if self.is_overloaded:
            return until if now < until else None
        return max(until, self._ends_at)

    def served(self, waited: float, now: float) -> None:
        """Record that a checkout has got its connection after a wait."""
        self._turn(now, waited)
        if self.least_wait is None or waited < self.least_wait:
            self.least_wait = waited

    def _turn(self, now: float, longest: float) -> None:
        """Judge the interval that has ended, and begin the next one.

        Args:
            now: the present instant.
            longest: seconds that the longest present wait lasts. It is the evidence if no checkout of the interval
                has got a connection.

        """
        if now < self._ends_at:
            return
        least = longest if self.least_wait is None else self.least_wait
        self.is_overloaded = least > self.target
        self.least_wait = None
        self._ends_at = now + self._interval

    def __str__(self) -> str:
        return f"max_wait='adaptive', {self.seconds:g} s while the queue does not drain"


Limit = FixedLimit | AdaptiveLimit


def limit_of(max_wait: MaxWait) -> Limit:
    """Return the limit that an option of ``DBConnect`` stands for."""
    if max_wait is None:
        return FixedLimit(math.inf)
    return AdaptiveLimit() if max_wait == "adaptive" else FixedLimit(max_wait)


def require_valid(max_wait: MaxWait, max_waiting: int | None) -> None:
    """Check the options of ``DBConnect``.

    Raises:
        TypeError: ``max_wait`` is neither a number nor ``"adaptive"``, or ``max_waiting`` is no whole number.
        ValueError: ``max_wait`` is not positive, or ``max_waiting`` is negative.

    """
    if max_wait != "adaptive":
        _check_wait(max_wait)
    _check_waiting(max_waiting)


def _check_wait(given: object) -> None:
    if given is None:
        return
    if not isinstance(given, int | float) or isinstance(given, bool):
        raise TypeError(f"max_wait is a number of seconds, or 'adaptive': got {kind_of(given)}")
    # So, because a comparison with NaN is false.
    if not given > 0:
        raise ValueError(f"max_wait is a positive number of seconds, or 'adaptive': got {given!r}")


def _check_waiting(given: object) -> None:
    if given is None:
        return
    if not isinstance(given, int) or isinstance(given, bool):
        raise TypeError(f"max_waiting is a whole number of checkouts: got {kind_of(given)}")
    if given < 0:
        raise ValueError(f"max_waiting is the number of checkouts that may wait, and not negative: got {given!r}")
