"""The sweep finds each planted bug, and nothing where there is none."""

from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.proof.faults import SUITE
from tests.proof.faults.faults import answered_by_rollback
from tests.proof.faults.sweep import SweepOptions, fault_sweep
from tests.proof.report import Suite
from tests.proof.sweeping.rivals import (
    answers_before_commit,
    closes_on_errors_only,
    leaves_commit_unprotected,
    loses_a_place,
    right,
    swallows_errors,
)
from tests.proof.sweeping.stage import Stage
from tests.proof.sweeping.world import Play, Scenario
from tests.support.database import Database

# The bug of the rival that is right otherwise: SQLAlchemy alone bounds no COMMIT.
_UNBOUNDED = ("silent-done", "silent-undone")


async def _goes_on_unprotected(stage: Stage) -> None:
    """Recover from a fault, so that it has left one COMMIT alone, and let a cancellation interrupt that COMMIT."""
    assert stage.connection.engine is not None
    with suppress(DBAPIError):
        async with stage.connection.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    await leaves_commit_unprotected(stage)


@pytest.mark.timeout(120)
async def test_nothing_is_found_where_nothing_is_wrong(database: Database) -> None:
    options = SweepOptions(Suite("controls"), without=_UNBOUNDED)
    async with fault_sweep(database, Scenario("right", right), options) as sweep:
        assert await sweep.run() == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("play", "without", "violation"),
    [
        pytest.param(
            answers_before_commit, (), "told success while 0 of 2 rows were there", id="answers_before_commit"
        ),
        pytest.param(closes_on_errors_only, (), "1 connection(s) are out of their pool", id="closes_on_errors_only"),
        pytest.param(
            _goes_on_unprotected,
            (),
            "0 of 2 rows after it was told failure (CancelledError())",
            id="leaves_commit_unprotected",
        ),
        pytest.param(loses_a_place, (), "1 connection(s) are out when the caller goes on", id="loses_a_place"),
        pytest.param(right, (), "which is not what commit-1-silent-done brings", id="bounds_no_commit"),
        pytest.param(swallows_errors, (), "0 of 2 rows after it was told success", id="swallows_errors"),
    ],
)
async def test_a_planted_bug_is_found(database: Database, play: Play, without: tuple[str, ...], violation: str) -> None:
    options = SweepOptions(Suite("controls"), without=without, is_complete=True, stops_early=True)
    async with fault_sweep(database, Scenario(play.__name__, play), options) as sweep:
        found = await sweep.run()
    assert any(violation in each for each in found), found
    SUITE.count("planted bugs found")


async def test_a_planted_trust_in_the_answer_to_a_commit_is_found(database: Database) -> None:
    options = SweepOptions(Suite("controls"))
    async with fault_sweep(database, Scenario("right", right), options) as sweep:
        found = await sweep.run_alone(answered_by_rollback(1))
    assert any("0 of 2 rows after it was told success" in each for each in found), found
    SUITE.count("planted bugs found")
