"""Positive controls: the simulation finds each of the bugs that were planted on purpose."""

import gc
import itertools
from collections.abc import Generator
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy._pool_queue import HandOnPool
from tests.proof.report import REPORT
from tests.proof.simulation import rivals
from tests.proof.simulation.choices import Choices
from tests.proof.simulation.postgres import ModelServer
from tests.proof.simulation.scenarios.application import Setup, set_up
from tests.proof.simulation.scenarios.requests import serve
from tests.proof.simulation.scenarios.waiters import waiters
from tests.proof.simulation.schedule import Outcome, Scenario, run, shrink
from tests.proof.simulation.world import World

_ENOUGH = 300
"""Schedules within which a bug must be found."""

pytestmark = [
    pytest.mark.timeout(180),
    # The rivals leave connections and tasks to the garbage collector, which says so.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Generator[None]:
    """Collect what a rival has left within the test that left it."""
    yield
    gc.collect()


def _scenario(set_up: Setup, **engine_options: object) -> Scenario:
    async def scenario(world: World) -> None:
        await serve(world, set_up, **engine_options)

    return scenario


def _search(scenario: Scenario, rule: str) -> Outcome:
    for number in itertools.count():
        outcome = run(scenario, Choices(seed=f"control {number}"))
        if any(violation.rule == rule for violation in outcome.violations):
            REPORT.suite("simulation").count("planted bugs found")
            return outcome
        assert number < _ENOUGH, f"{_ENOUGH} schedules have not shown: {rule}"
    raise AssertionError


@pytest.mark.parametrize(
    ("rival", "rule"),
    [
        (rivals.answer_before_commit, "success is told before the rows are there"),
        (rivals.commit_unprotected, "a COMMIT that has begun is not waited for"),
        (rivals.forget_cancellation, "a place in the pool is lost"),
        (rivals.forget_cancellation, "a transaction is left open"),
        (rivals.swallow_errors, "success is told before the rows are there"),
    ],
    ids=["answer before COMMIT", "unprotected COMMIT", "lost place", "open transaction", "swallowed error"],
)
def test_a_naive_middleware_is_found_out(rival: Setup, rule: str) -> None:
    scenario = _scenario(rival)
    outcome = _search(scenario, rule)
    plainest = shrink(scenario, outcome, rule)
    assert len(plainest.deviations) <= len(outcome.deviations)
    again = run(scenario, Choices(deviations=plainest.deviations))
    assert rule in {violation.rule for violation in again.violations}
    assert again.digest == plainest.digest


def _do_nothing(_engine: Engine) -> None:
    """Leave SQLAlchemy's pool as it is."""


_IN_VAIN = "a task waits while a place is free"


def test_sqlalchemys_own_pool_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("context_async_sqlalchemy.connect.hand_places_on", _do_nothing)
    outcome = _search(waiters, _IN_VAIN)
    plainest = shrink(waiters, outcome, _IN_VAIN)
    again = run(waiters, Choices(deviations=plainest.deviations))
    assert _IN_VAIN in {violation.rule for violation in again.violations}


@pytest.mark.parametrize(
    ("pool", "rule"),
    [
        (rivals.ForgettingPool, _IN_VAIN),
        (rivals.ResettingPool, _IN_VAIN),
        (rivals.DroppingPool, "a place in the pool is lost"),
    ],
    ids=["place without a record", "dispose", "cancelled in the moment of its record"],
)
def test_a_pool_that_forgets_a_waiting_task_is_found_out(
    pool: type[HandOnPool], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = World.connect

    def connect_with(world: World, server: ModelServer, **options: Any) -> DBConnect:
        return connect(world, server, poolclass=pool, **options)

    monkeypatch.setattr(World, "connect", connect_with)
    _search(waiters, rule)


def test_a_pool_that_loses_places_is_found_out() -> None:
    _search(_scenario(set_up, poolclass=rivals.LeakingPool), "a place in the pool is lost")
