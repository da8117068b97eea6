"""The summary of the demo says what the phases have shown, and no more."""

import io
from typing import Any

import pytest
from rich.console import Console

from examples.shop.load import INNOCENT, PAY_EARLY, PAY_LATE
from examples.shop.pool import CountingPool
from examples.shop.summary import summarize
from examples.shop.tally import PhaseTally, RouteTally


def _phase(name: str, seconds: float, waiting: list[int]) -> PhaseTally:
    phase = PhaseTally(name, {route: RouteTally(200) for route in (INNOCENT, PAY_LATE, PAY_EARLY)})
    for route in phase.routes.values():
        for _ in range(100):
            route.add("200", seconds)
    phase.waiting, phase.most_waiting = waiting, max(waiting)
    return phase


def _shown(late: PhaseTally, early: PhaseTally) -> str:
    connect: Any = object
    pool = CountingPool(connect, pool_size=3)
    screen = io.StringIO()
    Console(width=160, file=screen).print(summarize(late, early, pool), highlight=False)
    return screen.getvalue()


def test_a_phase_that_collapses_is_told_with_its_numbers() -> None:
    shown = _shown(_phase("late", 4.0, [0, 20, 40]), _phase("early", 0.02, [0, 1, 0]))
    assert f"Orders that held their connection while they were paid made {INNOCENT} take " in shown
    assert "times less" in shown
    assert "█" in shown


@pytest.mark.parametrize(("late", "early"), [(0.02, 0.02), (0.02, 0.5)])
def test_a_load_that_shows_no_difference_claims_none(late: float, early: float) -> None:
    shown = _shown(_phase("late", late, [0]), _phase("early", early, [0]))
    assert "The load was too short, or the machine too fast, for a difference" in shown
    assert "times less" not in shown
