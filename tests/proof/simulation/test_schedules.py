"""No schedule of the whole stack breaks a rule."""

import pytest

from tests.proof.report import REPORT, replayed, wanted_schedules
from tests.proof.simulation.explore import SHARES, explain, explore, tokens
from tests.proof.simulation.schedule import Token

_SCHEDULES = 1_500
_SEED = "1"


def _wanted(name: str) -> list[Token]:
    if replay := replayed():
        # Other suites have tokens of their own, and the other scenarios have nothing to do then.
        return [Token.parse(replay)] if replay.startswith((f"{name}:", f"{name}~")) else []
    total = wanted_schedules() or _SCHEDULES
    return [*tokens(_SEED, -(-total * SHARES[name] // sum(SHARES.values())), [name])]


@pytest.mark.timeout(0)  # PROOF_SCHEDULES may ask for hours.
@pytest.mark.parametrize("name", SHARES)
def test_no_schedule_breaks_a_rule(name: str) -> None:
    found = explore(_wanted(name))
    suite = REPORT.suite("simulation")
    for noun, number in (
        ("schedules", found.schedules),
        ("distinct", len(found.digests)),
        ("faults", sum(found.faults.values())),
        ("violations", len(found.broken)),
    ):
        suite.count(noun, number)
    assert not found.broken, f"replay by make prove REPLAY=token\n{explain(found)}"
    assert len(found.digests) >= 0.9 * found.schedules, "many schedules are alike"
