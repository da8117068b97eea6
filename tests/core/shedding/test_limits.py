"""How long a checkout may wait, by a clock that the test moves."""

import math
import re
from typing import Any

import pytest

from context_async_sqlalchemy._shedding.limits import (
    INTERVAL,
    TARGET,
    AdaptiveLimit,
    FixedLimit,
    limit_of,
    require_valid,
)

_SHORT = TARGET / 2
_LONG = TARGET * 1.5


def _after(waits: list[float]) -> AdaptiveLimit:
    """Return a limit after an interval with these waits; the interval is over."""
    limit = AdaptiveLimit()
    limit.look(0.0, 0.0, 0.0)
    for waited in waits:
        limit.served(waited, INTERVAL / 2)
    limit.look(INTERVAL, INTERVAL, INTERVAL)
    return limit


def test_a_fixed_limit_is_the_same_for_all() -> None:
    limit = FixedLimit(0.5)
    assert limit.look(10.0, 10.0, 3.0) == 10.5
    assert limit.look(10.0, 10.499, 3.0) == 10.5
    assert limit.look(10.0, 10.5, 3.0) is None


def test_without_a_limit_no_wait_ends() -> None:
    assert limit_of(None).look(0.0, 1e9, 0.0) == math.inf


def test_an_adaptive_limit_lets_a_burst_wait_that_drains() -> None:
    limit = _after([_SHORT, 0.9, 0.9])
    assert not limit.is_overloaded
    waiting_since = INTERVAL - 0.9
    assert limit.look(waiting_since, INTERVAL, waiting_since) == 2 * INTERVAL


def test_an_adaptive_limit_ends_waits_when_nobody_of_an_interval_was_served_in_time() -> None:
    limit = _after([_LONG, 0.9])
    assert limit.is_overloaded
    assert limit.look(INTERVAL, INTERVAL, INTERVAL) == INTERVAL + 2 * TARGET
    assert limit.look(INTERVAL, INTERVAL + 1.9 * TARGET, INTERVAL) == INTERVAL + 2 * TARGET
    assert limit.look(INTERVAL, INTERVAL + 2 * TARGET, INTERVAL) is None


def test_the_longest_wait_is_the_evidence_if_nobody_was_served_at_all() -> None:
    limit = AdaptiveLimit()
    limit.look(0.0, 0.0, 0.0)
    # One who comes at the end of the interval meets one who has waited since its beginning.
    assert limit.look(INTERVAL, INTERVAL, 0.0) == INTERVAL + 2 * TARGET
    assert limit.look(0.0, INTERVAL, 0.0) is None


def test_an_adaptive_limit_recovers_after_an_interval_with_one_short_wait() -> None:
    limit = _after([_LONG])
    limit.served(_LONG, INTERVAL * 1.5)
    limit.served(_SHORT, INTERVAL * 1.6)
    limit.served(_LONG, INTERVAL * 2)
    assert not limit.is_overloaded


def test_a_connection_found_without_a_wait_is_a_short_wait() -> None:
    limit = _after([_LONG])
    limit.least_wait = 0.0
    limit.served(_LONG, INTERVAL * 2)
    assert not limit.is_overloaded


def test_overload_lasts_as_long_as_its_cause() -> None:
    limit = _after([_LONG])
    for interval in range(2, 6):
        limit.served(_LONG, INTERVAL * interval)
        assert limit.is_overloaded


@pytest.mark.parametrize("silence", [1.0, 3600.0])
def test_a_wait_after_a_silence_is_not_judged_by_what_was_before(silence: float) -> None:
    limit = _after([_LONG])
    # A pool whose connections are all in use has given them away without a wait.
    limit.least_wait = 0.0
    now = INTERVAL + silence
    assert limit.look(now, now, now) == now + INTERVAL


@pytest.mark.parametrize(
    ("max_wait", "max_waiting", "error", "said"),
    [
        ("adaptve", None, TypeError, "max_wait is a number of seconds, or 'adaptive': got a str"),
        (True, None, TypeError, "max_wait is a number of seconds, or 'adaptive': got a bool"),
        (math.nan, None, ValueError, "got nan"),
        (0, None, ValueError, "got 0"),
        (None, "5", TypeError, "max_waiting is a whole number of checkouts: got a str"),
        (None, -1, ValueError, "not negative: got -1"),
    ],
)
def test_a_limit_that_is_none_is_refused(max_wait: Any, max_waiting: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        require_valid(max_wait, max_waiting)
