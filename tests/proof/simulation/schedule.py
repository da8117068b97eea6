"""Running one schedule, shrinking one that breaks a rule, and the tokens by which schedules are known."""

import asyncio
import gc
import hashlib
import logging
import re
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from asyncpg import connection as asyncpg_connection  # type: ignore[import-untyped] # it has no types

from tests.proof.simulation.choices import Choices
from tests.proof.simulation.clocks import virtual_time
from tests.proof.simulation.loop import SimulatedLoop, StalledError
from tests.proof.simulation.world import Violation, World

Scenario = Callable[[World], Awaitable[None]]

_TOKEN = re.compile(r"(?P<scenario>\w+)(?::(?P<seed>[\w.-]+)|~(?P<deviations>(?:\d+=\d+(?:,(?=\d)|$))*))")


@dataclass(frozen=True)
class Token:
    """What a schedule is known by: a scenario, and a seed or the deviations from the plain schedule."""

    scenario: str
    seed: str | None = None
    deviations: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        if self.seed is not None:
            return f"{self.scenario}:{self.seed}"
        return f"{self.scenario}~{','.join(f'{number}={value}' for number, value in self.deviations)}"

    @classmethod
    def parse(cls, text: str) -> "Token":
        """Read a token.

        Raises:
            ValueError: it is none.

        """
        match = _TOKEN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no token of a schedule: scenario:seed or scenario~number=value,...")
        pairs = [pair.split("=") for pair in (match["deviations"] or "").split(",") if pair]
        return cls(match["scenario"], match["seed"], tuple((int(number), int(value)) for number, value in pairs))

    def choices(self) -> Choices:
        """Make the decisions of this schedule."""
        if self.seed is not None:
            return Choices(seed=f"{self.scenario}:{self.seed}")
        return Choices(deviations=dict(self.deviations))


@dataclass(frozen=True)
class Outcome:
    """What a schedule has shown.

    Attributes:
        deviations: its decisions.
        digest: equal for schedules in which the network did the same at the same instants.
        faults: how often each fault has happened.
        story: what the servers did, if a rule is broken.

    """

    violations: tuple[Violation, ...]
    deviations: Mapping[int, int]
    digest: str
    turns: int
    faults: Counter[str]
    story: tuple[str, ...] = ()


def run(scenario: Scenario, choices: Choices) -> Outcome:
    """Run one schedule, without the garbage collector."""
    _count_statements_anew()
    loop = SimulatedLoop(choices)
    world = World(loop, choices)

    async def main() -> None:
        await scenario(world)

    with _quiet() as warned, virtual_time(loop):
        try:
            loop.run_until_complete(main())
        except StalledError as error:
            world.violate("the schedule does not end", str(error))
        except Exception as error:  # noqa: BLE001 - any error is a finding
            world.violate("the scenario has failed", repr(error))
        finally:
            _abandon(loop)
    for unhandled in loop.unhandled:
        world.violate("an error has reached the event loop", unhandled)
    for warning in warned:
        world.violate("a warning is given", f"{warning.category.__name__}: {warning.message}")
    digest = hashlib.sha256(repr(loop.network.journal).encode()).hexdigest()[:16]
    story = world.story() if world.violations else ()
    return Outcome(tuple(world.violations), choices.taken, digest, loop.turns, world.faults.counts, story)


def shrink(scenario: Scenario, outcome: Outcome, rule: str, attempts: int = 300) -> Outcome:
    """Look for a plainer schedule that breaks the same rule.

    Args:
        scenario: the scenario.
        outcome: what a schedule has shown.
        rule: one that it breaks.
        attempts: how many schedules are tried at most.

    Returns:
        The plainest that was found; only its violations of that rule are in it.

    """
    best = replace(outcome, violations=tuple(each for each in outcome.violations if each.rule == rule))
    size = max(1, len(best.deviations) // 2)
    while attempts > 0:
        numbers = sorted(best.deviations)
        for start in range(0, len(numbers), size):
            dropped = set(numbers[start : start + size])
            kept = {number: value for number, value in best.deviations.items() if number not in dropped}
            attempts -= 1
            found = run(scenario, Choices(deviations=kept))
            same = tuple(violation for violation in found.violations if violation.rule == rule)
            if same and len(found.deviations) < len(best.deviations):
                best = replace(found, violations=same)
                break
            if attempts <= 0:
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
    return best


def _count_statements_anew() -> None:
    # asyncpg numbers its prepared statements through the life of a process, and the length of a name would decide
    # where a message is cut.
    names: dict[str, object] = asyncpg_connection.__dict__
    assert "_uid" in names, "asyncpg counts its statements elsewhere now"
    names["_uid"] = 0


def _abandon(loop: SimulatedLoop) -> None:
    """Close a loop; what is left in it belongs to a schedule that has broken a rule."""
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    loop.close()


@contextmanager
def _quiet() -> Generator[list[warnings.WarningMessage]]:
    was_enabled, disabled = gc.isenabled(), logging.root.manager.disable
    gc.disable()
    logging.disable(logging.CRITICAL)
    try:
        # Noted, not raised: an error in place of a warning would be another schedule.
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield warned
    finally:
        logging.disable(disabled)
        if was_enabled:
            gc.enable()
