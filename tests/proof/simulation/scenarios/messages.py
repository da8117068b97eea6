"""A worker: one context that goes on, and a transaction for each message; it stays usable, whatever fails."""

import asyncio

from context_async_sqlalchemy import DBConnect, atomic_db_session, commit_db_session, db_context
from tests.proof.simulation.ledger import Unit
from tests.proof.simulation.scenarios.observed import observe
from tests.proof.simulation.scenarios.outcomes import told
from tests.proof.simulation.world import INSERT, World

_MESSAGES = 4
_LIMITS = (None, None, 0.000_3, 0.001, 0.003, 0.02)


async def messages(world: World) -> None:
    """Work on messages one after another; some of them time out, and some meet a fault."""
    connection = world.connect(world.serve(), pool_size=1, pool_timeout=30.0)
    observe(world, connection)
    try:
        async with db_context():
            await _work(world, connection)
    except Exception as error:  # noqa: BLE001 - any error is the finding
        world.violate("the context of a worker does not end", repr(error))
    await world.check_after(connection)
    await world.close()


async def _work(world: World, connection: DBConnect) -> None:
    world.faults.budget = world.choices.choose((0, 1, 2, 3))
    may_fail = world.faults.budget > 0
    for number in range(_MESSAGES):
        limit = world.choices.choose(_LIMITS)
        error = await _attempt(world, connection, world.ledger.open(f"m{number}"), limit)
        if error is not None and limit is None and not may_fail:
            world.violate("a unit fails without a cause", f"m{number}: {error!r}")
    world.faults.budget = 0
    error = await _attempt(world, connection, world.ledger.open("last"), None)
    if error is not None:
        world.violate("the session of an open context does not work any more", repr(error))


async def _attempt(world: World, connection: DBConnect, unit: Unit, limit: float | None) -> BaseException | None:
    work = world.choices.choose((_atomically, _by_hand))
    try:
        async with asyncio.timeout(limit):
            await work(world, connection, unit)
    except TimeoutError as error:
        # The limit may have struck during the COMMIT.
        unit.told = "unknown"
        return error
    except asyncio.CancelledError as error:
        world.violate("a CancelledError reaches a caller that was not cancelled", f"{unit.name}: {error!r}")
        return error
    except Exception as error:  # noqa: BLE001 - the worker goes on
        unit.told = told(error)
        return error
    unit.told = "success"
    return None


async def _atomically(_world: World, connection: DBConnect, unit: Unit) -> None:
    async with atomic_db_session(connection, current_transaction="rollback") as session:
        for body in unit.bodies():
            await session.execute(INSERT, {"body": body})


async def _by_hand(world: World, connection: DBConnect, unit: Unit) -> None:
    session = await world.session(connection)
    if session.in_transaction():
        await session.rollback()
    for body in unit.bodies():
        await session.execute(INSERT, {"body": body})
    await commit_db_session(connection)
