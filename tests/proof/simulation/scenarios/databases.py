"""Units on two databases: they commit in the order of first use, and an error tells how far that went."""

import asyncio

from context_async_sqlalchemy import DBConnect, PartialCommitError, db_context
from tests.proof.simulation.ledger import Unit
from tests.proof.simulation.scenarios.cancelling import cancel_some_time
from tests.proof.simulation.scenarios.observed import observe
from tests.proof.simulation.scenarios.outcomes import told
from tests.proof.simulation.world import INSERT, World

_NAMES = "abc"


async def databases(world: World) -> None:
    """Write to two databases in each unit, and cancel some of the units."""
    servers = [world.serve(host) for host in ("first", "second")]
    pool_size = world.choices.choose((1, 2))
    connections = [world.connect(server, pool_size=pool_size, pool_timeout=30.0) for server in servers]
    observe(world, *connections)
    world.faults.budget = world.choices.choose((0, 1, 2))
    may_fail = world.faults.budget > 0
    actors: list[asyncio.Task[None]] = []
    for name in _NAMES:
        units = [world.ledger.open(f"{name}{number}") for number in range(len(connections))]
        task = asyncio.create_task(_work(world, connections, units, may_fail=may_fail))
        actors.append(task)
        # The second COMMIT may begin after a cancellation that came during the first one.
        cancel_some_time(world, task, units[:1])
    await asyncio.wait(actors)
    for connection in connections:
        await world.check_after(connection)
    await world.close()


async def _work(world: World, connections: list[DBConnect], units: list[Unit], *, may_fail: bool) -> None:
    first, second = units
    error: BaseException | None = None
    try:
        async with db_context():
            for connection, unit in zip(connections, units, strict=True):
                for body in unit.bodies():
                    await (await world.session(connection)).execute(INSERT, {"body": body})
    except BaseException as raised:  # noqa: BLE001 - looked at below
        error = raised
    first.told = second.told = told(error)
    if isinstance(error, PartialCommitError):
        first.told = "success"
    if world.ledger.is_there(second) and not world.ledger.is_there(first):
        world.violate("the second database is committed without the first one", f"{first.name}: {error!r}")
    was_cancelled = first.cancelled_at is not None
    if isinstance(error, asyncio.CancelledError):
        if not was_cancelled:
            world.violate("a CancelledError reaches a caller that was not cancelled", f"{first.name}: {error!r}")
    elif was_cancelled:
        world.violate("a cancelled caller does not get its CancelledError", f"{first.name}: {error!r}")
    elif error is not None and not may_fail:
        world.violate("a unit fails without a cause", f"{first.name}: {error!r}")
