"""The example of an overload, run small: what it shows is so."""

import asyncio

from examples.overload.__main__ import Scale, limits, outcome, table
from examples.overload.load import Outcome

_SMALL = Scale(work=0.2, max_wait=0.25, patience=1.0, warm_up=2.2, measured=1.0)

# A busy machine serves less than this, and never more, so twice as much is an overload on each machine.
_MOST = _SMALL.connections / _SMALL.work


async def _outcomes(url: str) -> dict[str, Outcome]:
    rows = limits(_SMALL)
    outcomes = await asyncio.gather(*(outcome(url, _SMALL, 2 * _MOST, options) for options in rows.values()))
    return dict(zip(rows, outcomes, strict=True))


def test_at_twice_the_capacity_only_a_limit_keeps_requests_served(database_url: str) -> None:
    outcomes = asyncio.run(_outcomes(database_url))
    shown = table(_MOST, outcomes)
    assert len(shown.splitlines()) == 1 + len(outcomes)
    without, *limited = outcomes.values()
    sent = round(2 * _MOST * _SMALL.measured)
    # After the warm-up the queue is longer than any client waits.
    assert without.given_up == sent, shown
    for kept in limited:
        assert kept.served, shown
        assert kept.shed, shown
        assert len(kept.served) + kept.shed + kept.given_up == sent, shown
