"""What to change: the sentence for a route, and the size of a pool by Little's law."""

from collections.abc import Iterator
from math import ceil, sqrt
from typing import Any, NamedTuple

from context_async_sqlalchemy.observer import PoolPeaks

from .buckets import PoolSum, RouteSum

Json = dict[str, Any]

_NANOSECOND = 1e-9
_IDLE_SHARE = 0.5
_LEAST_IDLE = 0.02
"""Seconds for each session, below which an early release is not worth a word."""
_LEAST_WINDOW = 30.0
"""Seconds that must have been looked at before a pool is called too large."""


def for_route(total: RouteSum) -> str:
    """Return the sentence that says what to change at a route, or an empty string."""
    if not total.held or total.idle < _IDLE_SHARE * total.held:
        return ""
    each = total.idle * _NANOSECOND / max(total.sessions, 1)
    if each < _LEAST_IDLE:
        return ""
    text = (
        f"Each session holds a connection idle for {each:.2g} s, {total.idle / total.held:.0%} of its hold. Give it "
        "back before slow work: await commit_db_session(connection)."
    )
    if total.lines:
        ((line, _),) = total.lines.most_common(1)
        text += f" It is mostly idle at {line}."
    return text


class Need(NamedTuple):
    """What a pool was needed for in a window.

    Attributes:
        total: what happened in the window, with the holds that have not ended.
        window: seconds.
        peaks: the highest numbers of the last minute.
        maximum: how many connections the pool may have, or None.

    """

    total: PoolSum
    window: float
    peaks: PoolPeaks
    maximum: int | None

    def per_second(self, nanoseconds: int) -> float:
        """Return how many connections on average a time stands for.

        Little's law: the average number in use is the rate of the checkouts times their average hold. That is the
        sum of the holds in a second.
        """
        return nanoseconds * _NANOSECOND / self.window if self.window > 0 else 0.0


def for_pool(need: Need) -> Json:
    """Return the advice for a pool."""
    return {
        "average": round(need.per_second(need.total.held), 4),
        "peak": need.peaks.used + need.peaks.pending,
        "given_back": round(need.per_second(need.total.given_back), 4),
        "held_idle": round(need.per_second(need.total.idle), 4),
        "window": round(need.window, 3),
        "text": " ".join(_sentences(need)) if need.total.checkouts else "No checkout has been seen yet.",
    }


def _sentences(need: Need) -> Iterator[str]:
    total, peaks, maximum = need.total, need.peaks, need.maximum
    average, idle, given_back = map(need.per_second, (total.held, total.idle, total.given_back))
    rate, hold = total.checkouts / max(need.window, _NANOSECOND), total.held * _NANOSECOND / total.checkouts
    yield f"{rate:.3g} checkouts a second, held for {hold:.2g} s each, use {average:.2g} connections on average."
    if idle >= _IDLE_SHARE * average and idle >= _IDLE_SHARE:
        yield f"{idle:.2g} of these are held idle: release them before slow work."
    if given_back >= _IDLE_SHARE:
        yield f"Early releases give back {given_back:.2g}."
    needed = ceil(average + 2 * sqrt(average))
    yield f"With room for chance, twice the square root, {needed} are needed."
    if peaks.pending:
        yield f"At the peak {peaks.pending} checkouts waited."
    if maximum is None:
        return
    spare = maximum - max(needed, peaks.used)
    if needed > maximum:
        yield f"The pool has {maximum}, so {needed - maximum} are missing."
    elif spare > 0 and not peaks.pending and need.window >= _LEAST_WINDOW:
        yield f"At the peak {peaks.used} of {maximum} were in use, so {spare} are too many."
