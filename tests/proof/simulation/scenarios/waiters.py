"""Tasks that wait for one or two connections, while connections are lost in every way and the engine is disposed of."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import greenlet_spawn

from context_async_sqlalchemy import DBConnect, PoolOverloadedError, commit_db_session, db_context, rollback_db_session
from tests.proof.simulation.ledger import Unit
from tests.proof.simulation.scenarios.cancelling import cancel_at_a_tie, cancel_some_time
from tests.proof.simulation.scenarios.observed import observe
from tests.proof.simulation.world import World

_NAMES = "abcdef"
_SPREAD = 0.02
_PAUSES = (0.0, 0.000_1, 0.002, 0.02)
_SELECT = text("SELECT 1")
_ALL_HAVE_ENDED = 200.0
_IN_VAIN = "a task waits for a connection in vain"

Use = Callable[[World, DBConnect], Awaitable[None]]


async def waiters(world: World) -> None:
    """Let four to six tasks use a small pool; cancel some of them, and renew the engine or its pool in between."""
    choices = world.choices
    old, new = world.serve("old"), world.serve("new")
    max_wait = choices.choose((None, None, 0.005, "adaptive"))
    connection = world.connect(
        old,
        max_wait=max_wait,
        pool_size=choices.choose((1, 2)),
        max_overflow=choices.choose((0, 1)),
        pool_timeout=100.0,
        pool_pre_ping=choices.choose((False, True)),
        pool_recycle=choices.choose((-1, -1, 0)),
        pool_use_lifo=choices.choose((False, True)),
    )
    if choices.choose((True, False)):
        observe(world, connection)
    budget = world.faults.budget = choices.choose((0, 1, 2, 3))
    actors: list[asyncio.Task[None]] = []
    for name in _NAMES[: choices.choose((4, 5, 6))]:
        unit = world.ledger.open(name, size=0)
        task = asyncio.create_task(
            _work(world, connection, unit, may_fail=budget > 0, may_be_shed=max_wait is not None)
        )
        actors.append(task)
        cancel_some_time(world, task, [unit])
        cancel_at_a_tie(world, task, [unit])
    renew = choices.choose((_nothing, _dispose_of_engine, _dispose_of_pool, _switch(f"{new.host}:5432")))
    actors.append(asyncio.create_task(_renew(world, connection, renew)))
    await asyncio.wait(actors)
    await world.check_after(connection)
    await world.close()


async def _work(world: World, connection: DBConnect, unit: Unit, *, may_fail: bool, may_be_shed: bool) -> None:
    await asyncio.sleep(world.choices.choose((0.0, 0.0, 0.001, _SPREAD)))
    use = world.choices.choose((_select, _select, _select_twice, _invalidate, _detach))
    try:
        async with db_context():
            await use(world, connection)
    except BaseException as error:  # noqa: BLE001 - looked at below
        if not (may_be_shed and isinstance(error, PoolOverloadedError)):
            _judge(world, unit, error, may_fail=may_fail)


def _judge(world: World, unit: Unit, error: BaseException, *, may_fail: bool) -> None:
    if isinstance(error, PoolTimeoutError):
        world.violate(_IN_VAIN, f"{unit.name}: {error!r}")
    elif isinstance(error, asyncio.CancelledError):
        if unit.cancelled_at is None:
            world.violate("a CancelledError reaches a caller that was not cancelled", f"{unit.name}: {error!r}")
    elif not may_fail:
        world.violate("a unit fails without a cause", f"{unit.name}: {error!r}")


async def _select(world: World, connection: DBConnect) -> None:
    session = await world.session(connection)
    await session.execute(_SELECT)
    await asyncio.sleep(world.choices.choose(_PAUSES))


async def _select_twice(world: World, connection: DBConnect) -> None:
    await _select(world, connection)
    await commit_db_session(connection)
    await _select(world, connection)


async def _invalidate(world: World, connection: DBConnect) -> None:
    await _select(world, connection)
    await (await world.session(connection)).invalidate()
    await asyncio.sleep(world.choices.choose(_PAUSES))


async def _detach(world: World, connection: DBConnect) -> None:
    await _select(world, connection)
    held = await (await world.session(connection)).connection()
    (await held.get_raw_connection()).detach()
    # For an observer the checkout has ended, and the transaction with it.
    await rollback_db_session(connection)
    await asyncio.sleep(world.choices.choose(_PAUSES))


async def _renew(world: World, connection: DBConnect, renew: Callable[[DBConnect], Awaitable[None]]) -> None:
    await asyncio.sleep(world.choices.number(200) * _SPREAD / 200)
    await renew(connection)


async def _nothing(_connection: DBConnect) -> None:
    """Leave the engine as it is."""


async def _dispose_of_engine(connection: DBConnect) -> None:
    if connection.engine is not None:
        pool = _pool(connection.engine)
        await connection.engine.dispose()
        # SQLAlchemy leaves a connection open that is returned to the pool of before.
        await asyncio.sleep(_ALL_HAVE_ENDED)
        await greenlet_spawn(pool.dispose)


async def _dispose_of_pool(connection: DBConnect) -> None:
    # The pool goes on, as the pool of an engine does whose host was switched.
    if connection.engine is not None:
        await greenlet_spawn(_pool(connection.engine).dispose)


def _pool(engine: AsyncEngine) -> QueuePool:
    pool = engine.sync_engine.pool
    assert isinstance(pool, QueuePool)
    return pool


def _switch(host: str) -> Callable[[DBConnect], Awaitable[None]]:
    async def switch(connection: DBConnect) -> None:
        await connection.change_host(host)

    return switch
