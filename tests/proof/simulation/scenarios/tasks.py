"""Units of work without a framework: tasks with contexts of their own, cancelled at any moment, once and twice."""

import asyncio

from context_async_sqlalchemy import DBConnect, db_context, run_in_new_ctx
from tests.proof.simulation.ledger import Unit
from tests.proof.simulation.scenarios.cancelling import cancel_some_time
from tests.proof.simulation.scenarios.jobs import JOBS, Job
from tests.proof.simulation.scenarios.observed import observe
from tests.proof.simulation.scenarios.outcomes import came_of_cancellation, told
from tests.proof.simulation.world import World

_NAMES = "abcd"


async def tasks(world: World) -> None:
    """Run three or four jobs at once on a small pool, and cancel some of them."""
    server = world.serve()
    pool_timeout = world.choices.choose((30.0, 30.0, 0.05))
    connection = world.connect(server, pool_size=world.choices.choose((1, 2)), pool_timeout=pool_timeout)
    observe(world, connection)
    budget = world.faults.budget = world.choices.choose((0, 0, 1, 2))
    actors: list[asyncio.Task[None]] = []
    for name in _NAMES[: world.choices.choose((3, 4))]:
        job = JOBS[world.choices.choose([*JOBS])]
        units = job.open(world, name)
        task = asyncio.create_task(_work(world, connection, job, units, may_fail=bool(budget) or pool_timeout < 1))
        actors.append(task)
        cancel_some_time(world, task, units)
    await asyncio.wait(actors)
    await world.check_after(connection)
    await world.close()


async def _work(world: World, connection: DBConnect, job: Job, units: list[Unit], *, may_fail: bool) -> None:
    last = units[-1]
    error: BaseException | None = None
    try:
        if world.choices.choose((True, False)):
            async with db_context():
                await job.run(world, connection, units)
        else:
            await run_in_new_ctx(job.run, world, connection, units)
    except BaseException as raised:  # noqa: BLE001 - looked at below
        error = raised
    last.told = told(error)
    was_cancelled = last.cancelled_at is not None
    if isinstance(error, asyncio.CancelledError):
        if not was_cancelled:
            world.violate("a CancelledError reaches a caller that was not cancelled", f"{last.name}: {error!r}")
    elif was_cancelled and not (job.may_replace_cancellation and came_of_cancellation(error)):
        world.violate("a cancelled caller does not get its CancelledError", f"{last.name}: {error!r}")
    elif error is None and not job.can_commit:
        world.violate("a unit that cannot be committed is told as a success", last.name)
    elif error is not None and job.can_commit and not may_fail:
        world.violate("a unit fails without a cause", f"{last.name}: {error!r}")
