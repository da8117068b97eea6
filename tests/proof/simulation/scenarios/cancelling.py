"""Cancelling a task at any moment of its work."""

import asyncio

from tests.proof.simulation.ledger import Unit
from tests.proof.simulation.world import World

_LONGEST = 0.04
_STEPS = 2_000


def cancel_some_time(world: World, task: asyncio.Task[None], units: list[Unit]) -> None:
    """Cancel a task never, once or twice, and note in its units when it was."""
    for _ in range(world.choices.choose((0, 0, 1, 1, 2))):
        delay = world.choices.number(_STEPS) * _LONGEST / _STEPS
        world.loop.call_later(delay, _cancel, world, task, units)


def _cancel(world: World, task: asyncio.Task[None], units: list[Unit]) -> None:
    if task.done():
        return
    for unit in units:
        if unit.cancelled_at is None:
            unit.cancelled_at = world.loop.nanoseconds
    task.cancel()
