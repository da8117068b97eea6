"""The example of an overload, run small: what it shows is so."""

import asyncio

from examples.overload.__main__ import Scale, run, table

_SMALL = Scale(work=0.05, max_wait=0.25, patience=0.6, warm_up=1.5, measured=2.0, calibration=1.0)


def test_at_twice_the_capacity_only_a_limit_keeps_requests_served(database_url: str) -> None:
    capacity, outcomes = asyncio.run(run(database_url, _SMALL))
    without, fixed, adaptive = outcomes.values()
    shown = table(capacity, outcomes)
    assert len(shown.splitlines()) == 4
    # A machine that is busy with other tests serves less, but the difference is one of kind.
    assert without.served_per_second < 0.3 * capacity, shown
    for outcome in (fixed, adaptive):
        assert outcome.served_per_second > 0.7 * capacity, shown
        assert outcome.shed > 0, shown
    p99 = fixed.percentile(0.99)
    assert p99 is not None
    assert p99 < 2 * _SMALL.max_wait, shown
