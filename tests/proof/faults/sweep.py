"""Plays a scenario with each fault at each of its operations, alone and with a cancellation at every point after it."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain

from sqlalchemy import make_url

from context_async_sqlalchemy import DBConnect
from tests.proof.faults import SUITE
from tests.proof.faults.faults import FINISH_TIMEOUT, POOL_FAULTS, Fault, faults_of
from tests.proof.faults.oracles import judge
from tests.proof.faults.wire import Wire
from tests.proof.report import Suite, wanted_schedules
from tests.proof.suspension.aiohttp_site import HandlerCancel
from tests.proof.sweeping.kinds import Kind, TaskCancel
from tests.proof.sweeping.play import Ending, play
from tests.proof.sweeping.points import Meter
from tests.proof.sweeping.rows import Witness
from tests.proof.sweeping.world import POOL_SIZE, Scenario, World, opened
from tests.support.database import APPLICATION_NAME, Database

_POOL_TIMEOUT = 0.1
_CONNECT_TIMEOUT = 0.25


def connect_briefly(url: str, name: str) -> DBConnect:
    """Make a connection with short time-outs, whose every statement takes the same operations each time."""
    return DBConnect.from_url(
        url,
        name=name,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT,
        connect_args={
            "server_settings": {"application_name": APPLICATION_NAME},
            "ssl": False,
            "timeout": _CONNECT_TIMEOUT,
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
        },
    )


class SuddenCancel(TaskCancel):
    """``task.cancel()``, told from the cancellations by which drivers and pools end their own waits."""

    is_striking = False

    def strike(self) -> None:
        self.is_striking = True
        super().strike()
        self.is_striking = False


class SuddenHandlerCancel(HandlerCancel):
    """The same for a handler."""

    is_striking = False

    def strike(self) -> None:
        self.is_striking = True
        super().strike()
        self.is_striking = False


@dataclass(frozen=True)
class SweepOptions:
    """What a sweep plays.

    Args:
        suite: where the schedules are counted.
        only: the token of the one schedule to play.
        without: the names of faults that are left out.
        is_complete: whether cancellations come at every point.
        stops_early: whether one violation is enough.

    """

    suite: Suite = field(default_factory=lambda: SUITE)
    only: str | None = None
    without: tuple[str, ...] = ()
    is_complete: bool = False
    stops_early: bool = False


class FaultSweep:
    """All schedules of a scenario.

    Args:
        world: in which it is played.
        wire: between its connections and the server.
        options: which schedules, and where they are counted.

    """

    def __init__(self, world: World, wire: Wire, options: SweepOptions) -> None:
        self._world = world
        self._wire = wire
        self._options = options
        self._found: list[str] = []
        self._operations: Counter[str] = Counter()

    async def run(self) -> list[str]:
        """Play them, and return the violations, each with the token that replays it."""
        await self._play(None, None)
        operations = self._operations
        has_time_limit = self._world.scenario.has_time_limit
        faults = [
            faults_of(sort, number + 1, has_time_limit=has_time_limit)
            for sort, total in operations.items()
            for number in range(total)
        ]
        if self._options.only is not None:
            return await self._replay(self._options.only, [*chain(*faults, POOL_FAULTS)])
        for fault in chain(*faults, POOL_FAULTS):
            if self._options.stops_early and self._found:
                break
            if not fault.name.endswith(self._options.without):
                await self._sweep(fault)
        self._options.suite.count("scenarios")
        self._options.suite.count("operations", operations.total())
        return self._found

    async def run_alone(self, fault: Fault) -> list[str]:
        """Play one fault, without cancellations."""
        await self._play(fault, None)
        return self._found

    async def _replay(self, token: str, faults: Iterable[Fault]) -> list[str]:
        scenario, _, schedule = token.partition("/")
        name, _, point = schedule.partition(":")
        for fault in faults:
            if scenario == self._world.scenario.name and fault.name == name:
                await self._play(fault, int(point) if point else None)
        return self._found

    async def _sweep(self, fault: Fault) -> None:
        await self._play(fault, None)
        is_complete = self._options.is_complete or wanted_schedules() is not None
        if fault.is_alone and not is_complete:
            return
        step = 1 if is_complete else 24 if fault.is_slow else 10
        point = 0
        while not (self._options.stops_early and self._found) and await self._play(fault, point):
            point += step

    async def _play(self, fault: Fault | None, point: int | None) -> bool:
        """Play one schedule; tell whether its point was reached."""
        schedule = "undisturbed" if fault is None else fault.name if point is None else f"{fault.name}:{point}"
        token = f"{self._world.scenario.name}/{schedule}"
        kind: Kind = SuddenCancel() if self._world.scenario.site is None else SuddenHandlerCancel()
        meter = Meter(waits=True)
        if point is not None:
            meter.strike(point, kind.strike_at)

        def judge_ending(ending: Ending) -> Iterable[str]:
            yield from judge(ending, fault, is_cancelled=kind.has_cancelled)
            is_cancelled = isinstance(ending.error, asyncio.CancelledError)
            # asyncio.gather raises what its first part has failed with, even if its caller is cancelled meanwhile.
            is_told = self._world.scenario.site is None and not self._world.scenario.goes_on
            if is_told and is_cancelled != kind.has_cancelled:
                yield f"it ended by {ending.error!r}; the caller was {'' if kind.has_cancelled else 'not '}cancelled"

        if fault is not None and fault.prepare is not None:
            await fault.prepare(self._world)
        around = self._watch() if fault is None else fault.plant(self._world, self._wire, meter.begin)
        violations = await play(self._world, schedule, kind, meter, judge_ending, around=around)
        self._options.suite.count("schedules")
        self._options.suite.count("violations", len(violations))
        self._found += [f"{token}: {violation}" for violation in violations]
        return meter.has_struck

    @asynccontextmanager
    async def _watch(self) -> AsyncGenerator[None]:
        self._wire.watch()
        yield
        self._operations = self._wire.operations.copy()


@asynccontextmanager
async def fault_sweep(
    database: Database, scenario: Scenario, options: SweepOptions | None = None
) -> AsyncGenerator[FaultSweep]:
    """Make the sweep of a scenario, with a wire to the server.

    Args:
        database: on the server.
        scenario: to be played.
        options: of the sweep; by default all.

    """
    server = make_url(database.url)
    assert server.host is not None
    assert server.port is not None
    with Witness(database.url) as witness:
        async with Wire(server.host, server.port) as wire:
            url = server.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
            async with opened(scenario, url, witness, finish_timeout=FINISH_TIMEOUT, connect=connect_briefly) as world:
                yield FaultSweep(world, wire, options or SweepOptions())
