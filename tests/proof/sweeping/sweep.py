"""Plays a scenario once for each way of cancelling it at each of its suspension points, once and twice."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.proof.report import Suite, wanted_schedules
from tests.proof.sweeping.kinds import Kind, TaskCancel
from tests.proof.sweeping.oracles import judge_units
from tests.proof.sweeping.play import Ending, play
from tests.proof.sweeping.points import Meter
from tests.proof.sweeping.world import World

_MISSES = 2
"""How many points in a row must be missed before a sweep counts as complete: the network splits and merges reads."""
_IN_MORE_PAIRS = {TaskCancel}
"""The ways of cancelling that strike twice at every third pair of points; others, by default, at every twelfth."""


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
        step = 1 if wanted_schedules() is not None else 3 if kind in _IN_MORE_PAIRS else 12
        second = first % step
        while not self._is_enough and await self._play(Schedule(kind, first, second)):
            second += step

    @property
    def _is_enough(self) -> bool:
        return self._stops_early and bool(self._found)

    async def _play(self, schedule: Schedule) -> bool:
        """Play a schedule; tell whether all of its points were reached."""
        kind = (schedule.kind or self._kinds[0])()
        meter = Meter()
        if schedule.kind is not None:
            meter.strike(schedule.first, kind.strike_at)
            if schedule.second is not None:
                meter.strike(schedule.first + schedule.second, lambda _: kind.strike_again())

        def judge(ending: Ending) -> Iterable[str]:
            yield from judge_units(ending.stage, ending.rows)
            yield from _judge_ending(schedule, kind, meter, ending.error)

        violations = await play(self._world, str(schedule), kind, meter, judge)
        self._suite.count("schedules")
        self._suite.count("violations", len(violations))
        self._found += [f"{self._world.scenario.name}/{schedule}: {violation}" for violation in violations]
        return meter.has_struck


def _judge_ending(schedule: Schedule, kind: Kind, meter: Meter, error: BaseException | None) -> Iterable[str]:
    if schedule.kind is None or meter.points < schedule.first:
        if error is not None:
            yield f"it ended by {error!r}, and nothing had been done to it"
    elif not kind.explains(error) and (schedule.second is None or not isinstance(error, asyncio.CancelledError)):
        yield f"it ended by {error!r}, which is not what a {kind.name} at a suspension point brings"
