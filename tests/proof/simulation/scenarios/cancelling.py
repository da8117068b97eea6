"""Cancelling a task at any moment of its work."""

import asyncio

from tests.proof.simulation.ledger import Unit
from tests.proof.simulation.world import World

_LONGEST = 0.04
_STEPS = 2_000
_TIES = 16


def cancel_some_time(world: World, task: asyncio.Task[None], units: list[Unit]) -> None:
    """Cancel a task never, once or twice, and note in its units when it was."""
    for _ in range(world.choices.choose((0, 0, 1, 1, 2))):
        delay = world.choices.number(_STEPS) * _LONGEST / _STEPS
        world.loop.call_later(delay, _cancel, world, task, units)


def cancel_at_a_tie(world: World, task: asyncio.Task[None], units: list[Unit]) -> None:
    """Cancel a task, or not, in a turn in which something that it waits for has happened, and before it runs."""
    left = world.choices.choose((*[0] * _TIES, *range(1, _TIES)))

    def look() -> None:
        nonlocal left
        # asyncio has no public name for what a task waits for.
        waits_for: asyncio.Future[object] | None = getattr(task, "_fut_waiter")  # noqa: B009 - it has no type
        if left and waits_for is not None and waits_for.done():
            left -= 1
            if not left:
                _cancel(world, task, units)

    if left:
        world.loop.after_turn.append(look)


def _cancel(world: World, task: asyncio.Task[None], units: list[Unit]) -> None:
    if task.done():
        return
    for unit in units:
        if unit.cancelled_at is None:
            unit.cancelled_at = world.loop.nanoseconds
    task.cancel()
