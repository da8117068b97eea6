"""Every scenario with every fault at each of its operations.

A violation begins with a token. ``PROOF_REPLAY=<token>`` plays that schedule alone; any ``PROOF_SCHEDULES`` makes the
cancellations come at every point after a fault, in place of some.
"""

import pytest

from tests.proof.faults.faults import SILENT_FOR_GOOD, answered_by_rollback
from tests.proof.faults.scenarios import SCENARIOS, goes_on, swallows_of_the_driver
from tests.proof.faults.sweep import SweepOptions, fault_sweep
from tests.proof.report import Suite, replayed
from tests.proof.sweeping.world import Scenario
from tests.support.database import Database

_SHOWN = 20
_UNCOUNTED = Suite("known")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_whatever_goes_wrong(database: Database, scenario: Scenario) -> None:
    async with fault_sweep(database, scenario, SweepOptions(only=replayed())) as sweep:
        _require_none(await sweep.run())


async def test_a_server_that_stays_silent_is_given_up(database: Database) -> None:
    async with fault_sweep(database, Scenario("goes-on", goes_on)) as sweep:
        _require_none(await sweep.run_alone(SILENT_FOR_GOOD))


# SQLAlchemy and asyncpg drop the answer to a COMMIT, so that only a statement that SQLAlchemy has seen fail can tell.
_UNSEEN = "SQLAlchemy has seen no statement fail, and nobody reads the answer to the COMMIT"


@pytest.mark.xfail(reason=_UNSEEN, strict=True, raises=pytest.fail.Exception)
async def test_a_commit_that_is_answered_by_rollback(database: Database) -> None:
    async with fault_sweep(database, Scenario("goes-on", goes_on), SweepOptions(_UNCOUNTED)) as sweep:
        _require_none(await sweep.run_alone(answered_by_rollback(1)))


@pytest.mark.xfail(reason=_UNSEEN, strict=True, raises=pytest.fail.Exception)
async def test_a_failed_statement_of_the_drivers_own(database: Database) -> None:
    only = "swallows-of-the-driver/statement-4-fails"
    scenario = Scenario("swallows-of-the-driver", swallows_of_the_driver)
    async with fault_sweep(database, scenario, SweepOptions(_UNCOUNTED, only)) as sweep:
        _require_none(await sweep.run())


def _require_none(violations: list[str]) -> None:
    if violations:
        pytest.fail("\n".join([f"{len(violations)} violations", *violations[:_SHOWN]]), pytrace=False)
