"""The sweep finds each planted bug, and nothing where there is none."""

from collections.abc import AsyncGenerator

import pytest

from tests.proof.report import Suite
from tests.proof.suspension import SUITE
from tests.proof.sweeping.kinds import KINDS
from tests.proof.sweeping.rivals import (
    answers_before_commit,
    closes_on_errors_only,
    leaves_commit_unprotected,
    loses_a_place,
    right,
    swallows_errors,
)
from tests.proof.sweeping.rows import Witness
from tests.proof.sweeping.sweep import Sweep
from tests.proof.sweeping.world import Play, Scenario, opened
from tests.support.database import Database

_UNCOUNTED = Suite("controls")

BUGS: dict[Play, str] = {
    answers_before_commit: "told success while 0 of 2 rows were there",
    leaves_commit_unprotected: "it was cancelled during its COMMIT, which runs to its end",
    closes_on_errors_only: "1 connection(s) are out of their pool",
    swallows_errors: "0 of 2 rows after it was told success",
    loses_a_place: "1 connection(s) are out of their pool",
}
"""With a violation that each must show."""


@pytest.fixture
async def witness(database: Database) -> AsyncGenerator[Witness]:
    with Witness(database.url) as witness:
        yield witness


@pytest.mark.parametrize("is_cold", [False, True], ids=["warm", "cold"])
async def test_nothing_is_found_where_nothing_is_wrong(database: Database, witness: Witness, is_cold: bool) -> None:
    async with opened(Scenario("right", right, is_cold=is_cold), database.url, witness) as world:
        assert await Sweep(world, _UNCOUNTED, KINDS).run() == []


@pytest.mark.parametrize("play", BUGS, ids=lambda play: play.__name__)
async def test_a_planted_bug_is_found(database: Database, witness: Witness, play: Play) -> None:
    async with opened(Scenario(play.__name__, play, is_cold=True), database.url, witness) as world:
        violations = await Sweep(world, _UNCOUNTED, KINDS, stops_early=True).run()
    assert any(BUGS[play] in found for found in violations)
    SUITE.count("planted bugs found")
