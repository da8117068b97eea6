"""Plays a scenario once, and judges what it leaves."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from context_async_sqlalchemy import reset_db_session_ctx
from context_async_sqlalchemy.context import open_context
from context_async_sqlalchemy_aiohttp import LIFECYCLE
from tests.proof.sweeping.kinds import Kind
from tests.proof.sweeping.oracles import judge_next, judge_records, judge_remains
from tests.proof.sweeping.points import Meter
from tests.proof.sweeping.stage import Stage
from tests.proof.sweeping.world import World

_SECONDS_FOR_A_RUN = 8.0


@dataclass
class Ending:
    """How a run ended.

    Attributes:
        stage: with its units.
        rows: how many are committed, by unit.
        error: what the caller got; None for a return.

    """

    stage: Stage
    rows: dict[str, int]
    error: BaseException | None


Judge = Callable[[Ending], Iterable[str]]


async def play(
    world: World,
    schedule: str,
    kind: Kind,
    meter: Meter,
    judge: Judge,
    *,
    around: AbstractAsyncContextManager[object] | None = None,
) -> list[str]:
    """Play a scenario once, and return the violations.

    Args:
        world: of the scenario.
        schedule: the name of this run.
        kind: runs it, so that it can be cancelled.
        meter: counts its suspension points, and strikes.
        judge: says which endings are violations.
        around: what is open during the run.

    """
    scenario, name = world.scenario, f"{world.scenario.name}/{schedule}/"
    if scenario.is_cold:
        await world.cool()
    tasks = asyncio.all_tasks()
    world.forget()
    stage = Stage(name, world.connections, world.witness, world.tap, kind, scenario.is_visible)
    _, token = open_context(world.app[LIFECYCLE])
    violations: list[str] = []
    async with around or nullcontext():
        held = world.in_use()
        if world.recover is not None:
            stage.recover, world.recover = world.recover, None
        task = asyncio.create_task(kind.run(_work(world, stage, meter, kind)))
        done, _ = await asyncio.wait((task,), timeout=_SECONDS_FOR_A_RUN)
        if done and world.in_use() > held and not scenario.goes_on:
            violations.append(f"{world.in_use() - held} connection(s) are out when the caller goes on")
        if not done:
            violations.append(f"it did not end within {_SECONDS_FOR_A_RUN:g} s: {task!r}")
            task.cancel()
            await asyncio.wait((task,), timeout=_SECONDS_FOR_A_RUN)
        await reset_db_session_ctx(token)
    # The task keeps its exception, and the exception its frames, until all is judged: a connection that only the
    # end of its last reference gives back is a leak.
    violations += await judge_remains(world, tasks)
    rows = world.witness.rows_of(name)
    violations += stage.violations
    violations += judge(Ending(stage, rows, _error(task)))
    violations += judge_records(world, stage, rows)
    violations += world.failures
    violations += await judge_next(world, stage)
    return violations


def _work(world: World, stage: Stage, meter: Meter, kind: Kind) -> Coroutine[Any, Any, None]:
    scenario = world.scenario
    if scenario.site is not None:
        return scenario.site.visit(world, stage, meter, kind)
    assert scenario.play is not None
    return meter.measure(scenario.play(stage))


def _error(task: asyncio.Task[None]) -> BaseException | None:
    if not task.done() or task.cancelled():
        return asyncio.CancelledError()
    return task.exception()
