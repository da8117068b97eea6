"""No schedule of the whole stack breaks a rule."""

import pytest

from tests.proof.report import REPORT, replayed, wanted_schedules
from tests.proof.simulation.explore import SHARES, explain, explore, tokens
from tests.proof.simulation.scenarios import SCENARIOS
from tests.proof.simulation.schedule import Token, run

_SCHEDULES = 1_500
_SEED = "1"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SHARES)
def test_no_schedule_breaks_a_rule(name: str) -> None:
    total = wanted_schedules() or _SCHEDULES
    found = explore(tokens(_SEED, total * SHARES[name] // sum(SHARES.values()), [name]))
    suite = REPORT.suite("simulation")
    for noun, number in (
        ("schedules", found.schedules),
        ("distinct", len(found.digests)),
        ("faults", sum(found.faults.values())),
        ("violations", len(found.broken)),
    ):
        suite.count(noun, number)
    assert not found.broken, f"replay by make prove REPLAY=token\n{explain(found)}"
    assert len(found.digests) > 0.9 * found.schedules, "most schedules are alike"


@pytest.mark.skipif(replayed() is None, reason="PROOF_REPLAY names a schedule")
def test_the_schedule_of_the_token_breaks_no_rule() -> None:
    token = Token.parse(replayed() or "")
    outcome = run(SCENARIOS[token.scenario], token.choices())
    assert not outcome.violations, "\n".join([*outcome.story, *map(str, outcome.violations)])
