"""Plays a scenario once for each way of cancelling it at each of its suspension points, once and twice."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from context_async_sqlalchemy import reset_db_session_ctx
from context_async_sqlalchemy.context import open_context
from context_async_sqlalchemy_aiohttp import LIFECYCLE
from tests.proof.report import Suite, wanted_schedules
from tests.proof.sweeping.kinds import Kind, TaskCancel
from tests.proof.sweeping.oracles import judge_next, judge_records, judge_remains, judge_units
from tests.proof.sweeping.points import Meter, Strike
from tests.proof.sweeping.stage import Stage
from tests.proof.sweeping.world import World

_SECONDS_FOR_A_RUN = 15.0
_MISSES = 2
"""How many points in a row must be missed before a sweep counts as complete: the network splits and merges reads."""
_IN_ALL_PAIRS = {TaskCancel}
"""The ways of cancelling that strike twice at every two points; others, by default, at every third of these."""


@dataclass(frozen=True)
class Schedule:
    """When a run is cancelled.

    Args:
        kind: how; None for a run that is left alone.
        first: at which suspension point.
        second: how many points later once more; None for once.

    """

    kind: type[Kind] | None = None
    first: int = 0
    second: int | None = None

    def __str__(self) -> str:
        if self.kind is None:
            return "undisturbed"
        return f"{self.kind.name}:{self.first}" + ("" if self.second is None else f":{self.second}")


@dataclass
class Run:
    """What one run has shown."""

    points: int
    has_struck: bool
    violations: list[str]


async def play(world: World, schedule: Schedule, kind: Kind) -> Run:
    """Play a scenario once.

    Args:
        world: of the scenario.
        schedule: when to strike.
        kind: what strikes.

    """
    scenario, name = world.scenario, f"{world.scenario.name}/{schedule}/"
    if scenario.is_cold:
        await world.cool()
    tasks = asyncio.all_tasks()
    world.forget()
    stage = Stage(name, world.connections, world.witness, world.tap, scenario.is_visible)
    meter = Meter(_strikes(schedule, kind))
    _, token = open_context(world.app[LIFECYCLE])
    task = asyncio.create_task(kind.run(_work(world, stage, meter, kind)))
    done, _ = await asyncio.wait((task,), timeout=_SECONDS_FOR_A_RUN)
    # The task keeps its exception, and the exception its frames, until all is judged: a connection that only the
    # end of its last reference gives back is a leak.
    violations: list[str] = []
    if done and world.in_use() and not scenario.goes_on:
        violations.append(f"{world.in_use()} connection(s) are out when the caller goes on")
    if not done:
        violations.append(f"it did not end within {_SECONDS_FOR_A_RUN:g} s: {task!r}")
        task.cancel()
        await asyncio.wait((task,), timeout=_SECONDS_FOR_A_RUN)
    await reset_db_session_ctx(token)
    ending = _ending(task)
    violations += _judge_ending(schedule, kind, meter, ending)
    violations += await judge_remains(world, tasks)
    rows = world.witness.rows_of(name)
    violations += stage.violations
    violations += judge_units(stage, rows)
    violations += judge_records(world, stage, rows)
    violations += world.failures
    violations += await judge_next(world, stage)
    return Run(meter.points, meter.has_struck, violations)


def _work(world: World, stage: Stage, meter: Meter, kind: Kind) -> Coroutine[Any, Any, None]:
    scenario = world.scenario
    if scenario.site is not None:
        return scenario.site.visit(world, stage, meter, kind)
    assert scenario.play is not None
    return meter.measure(scenario.play(stage))


def _strikes(schedule: Schedule, kind: Kind) -> dict[int, list[Strike]]:
    strikes: dict[int, list[Strike]] = {}
    if schedule.kind is not None:
        strikes.setdefault(schedule.first, []).append(kind.strike_at)
        if schedule.second is not None:
            strikes.setdefault(schedule.first + schedule.second, []).append(lambda _: kind.strike_again())
    return strikes


def _ending(task: asyncio.Task[None]) -> BaseException | None:
    if not task.done() or task.cancelled():
        return asyncio.CancelledError()
    return task.exception()


def _judge_ending(schedule: Schedule, kind: Kind, meter: Meter, ending: BaseException | None) -> list[str]:
    if schedule.kind is None or meter.points < schedule.first:
        return [] if ending is None else [f"it ended by {ending!r}, and nothing had been done to it"]
    if kind.explains(ending) or (schedule.second is not None and isinstance(ending, asyncio.CancelledError)):
        return []
    return [f"it ended by {ending!r}, which is not what a {kind.name} at a suspension point brings"]


class Sweep:
    """All schedules of a scenario.

    Args:
        world: in which it is played.
        suite: where they are counted.
        kinds: the ways of cancelling.
        only: the token of the one schedule to play.
        stops_early: whether one violation is enough.

    """

    def __init__(
        self,
        world: World,
        suite: Suite,
        kinds: Sequence[type[Kind]],
        *,
        only: str | None = None,
        stops_early: bool = False,
    ) -> None:
        self._world = world
        self._suite = suite
        self._kinds = kinds
        self._only = only
        self._stops_early = stops_early
        self._found: list[str] = []

    async def run(self) -> list[str]:
        """Play them, and return the violations, each with the token that replays it."""
        if self._only is not None:
            await self._replay(self._only)
            return self._found
        points = 0
        await self._play(Schedule())
        for kind in self._kinds:
            points = max(points, await self._strike_once(kind))
        for kind in self._kinds:
            for first in range(1, points + 1):
                await self._strike_twice(kind, first)
        self._suite.count("scenarios")
        self._suite.count("points", points)
        return self._found

    async def _replay(self, token: str) -> None:
        scenario, _, schedule = token.partition("/")
        if scenario == self._world.scenario.name:
            name, *points = schedule.split(":")
            kind = next((kind for kind in self._kinds if kind.name == name), None)
            first, second = ([int(point) for point in points] + [None, None])[:2]
            await self._play(Schedule(kind, first or 0, second))

    async def _strike_once(self, kind: type[Kind]) -> int:
        point = reached = 0
        while point < reached + _MISSES and not self._is_enough:
            point += 1
            if await self._play(Schedule(kind, point)):
                reached = point
        return reached

    async def _strike_twice(self, kind: type[Kind], first: int) -> None:
        step = 1 if wanted_schedules() is not None or kind in _IN_ALL_PAIRS else 3
        second = first % step
        while not self._is_enough and await self._play(Schedule(kind, first, second)):
            second += step

    @property
    def _is_enough(self) -> bool:
        return self._stops_early and bool(self._found)

    async def _play(self, schedule: Schedule) -> bool:
        """Play a schedule; tell whether all of its points were reached."""
        run = await play(self._world, schedule, (schedule.kind or self._kinds[0])())
        self._suite.count("schedules")
        self._suite.count("violations", len(run.violations))
        self._found += [f"{self._world.scenario.name}/{schedule}: {violation}" for violation in run.violations]
        return run.has_struck
