"""The simulated loop: the same schedule does the same, everywhere, and takes no time."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.proof.simulation.choices import Choices
from tests.proof.simulation.loop import SimulatedLoop, StalledError
from tests.proof.simulation.scenarios import SCENARIOS
from tests.proof.simulation.schedule import Token, run
from tests.proof.simulation.world import World

_CHECKOUT = Path(__file__).parents[3]
_IN_ANOTHER_PROCESS = """
import sys
from tests.proof.simulation.scenarios import SCENARIOS
from tests.proof.simulation.schedule import Token, run
for text in sys.argv[1:]:
    token = Token.parse(text)
    print(run(SCENARIOS[token.scenario], token.choices()).digest)
"""


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_schedule_does_the_same_again(name: str) -> None:
    for number in range(5):
        token = Token(name, seed=f"again.{number}")
        first, second = (run(SCENARIOS[name], token.choices()) for _ in range(2))
        assert (first.digest, first.deviations) == (second.digest, second.deviations)
        replayed = Token.parse(str(Token(name, deviations=tuple(first.deviations.items()))))
        assert run(SCENARIOS[name], replayed.choices()).digest == first.digest


def test_a_schedule_does_the_same_in_another_process() -> None:
    tokens = [Token(name, seed=f"elsewhere.{number}") for name in SCENARIOS for number in range(3)]
    here = [run(SCENARIOS[token.scenario], token.choices()).digest for token in tokens]
    there = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", _IN_ANOTHER_PROCESS, *map(str, tokens)],
        cwd=_CHECKOUT,
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(_CHECKOUT)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert there.stdout.split() == here


def test_another_seed_is_another_schedule() -> None:
    digests = {run(SCENARIOS["requests"], Choices(seed=str(number))).digest for number in range(20)}
    assert len(digests) > 15


@pytest.mark.parametrize("text", ["", "requests", "requests:", "requests~1=", "requests~x=1"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no token"):
        Token.parse(text)


def test_a_scenario_may_be_anything() -> None:
    async def scenario(world: World) -> None:
        await asyncio.sleep(3600)
        world.violate("an hour has passed", str(world.loop.time()))

    since = time.monotonic()
    outcome = run(scenario, Choices())
    assert [violation.rule for violation in outcome.violations] == ["an hour has passed"]
    assert time.monotonic() - since < 5


def test_a_wait_in_vain_is_told() -> None:
    async def scenario(_world: World) -> None:
        await asyncio.get_running_loop().create_future()

    (violation,) = run(scenario, Choices()).violations
    assert violation.rule == "the schedule does not end"


def test_a_loop_that_only_turns_is_told() -> None:
    async def scenario(_world: World) -> None:
        for _ in range(1_000_000):
            await asyncio.sleep(0)

    (violation,) = run(scenario, Choices()).violations
    assert violation.rule == "the schedule does not end"


def test_callbacks_keep_their_order() -> None:
    loop = SimulatedLoop(Choices(seed="order"))
    order: list[int] = []
    for number in range(5):
        loop.call_soon(order.append, number)
    loop.call_later(0.002, order.append, 6)
    loop.call_later(0.001, order.append, 5)
    loop.run_until_complete(asyncio.sleep(0.003))
    loop.close()
    assert order == [*range(7)]


def test_a_connect_to_nobody_is_refused() -> None:
    loop = SimulatedLoop(Choices())
    with pytest.raises(ConnectionRefusedError):
        loop.run_until_complete(loop.create_connection(asyncio.Protocol, "nobody", 1))
    loop.close()


def test_nothing_can_happen_without_a_timer_or_a_message() -> None:
    loop = SimulatedLoop(Choices())
    with pytest.raises(StalledError):
        loop.run_until_complete(loop.create_future())
    loop.close()
