"""Every scenario, cancelled at every suspension point, in every way, once and twice.

A violation begins with a token. ``PROOF_REPLAY=<token>`` plays that schedule alone; any ``PROOF_SCHEDULES`` makes every
way of cancelling strike at all pairs of points.
"""

import pytest

from tests.proof.report import replayed
from tests.proof.suspension import SUITE
from tests.proof.suspension.aiohttp_site import HTTP_KINDS
from tests.proof.suspension.scenarios import SCENARIOS
from tests.proof.sweeping.kinds import KINDS
from tests.proof.sweeping.rows import Witness
from tests.proof.sweeping.sweep import Sweep
from tests.proof.sweeping.world import Scenario, opened
from tests.support.database import Database

_SHOWN = 20


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_cancelled_wherever_it_waits(database: Database, scenario: Scenario) -> None:
    with Witness(database.url) as witness:
        async with opened(scenario, database.url, witness) as world:
            kinds = KINDS if scenario.site is None else HTTP_KINDS
            violations = await Sweep(world, SUITE, kinds, only=replayed()).run()
    if violations:
        pytest.fail("\n".join([f"{len(violations)} violations", *violations[:_SHOWN]]), pytrace=False)
