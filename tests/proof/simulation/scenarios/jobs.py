"""The jobs of the actors: each does its work in the context that is current, as an application's handler does."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from context_async_sqlalchemy import (
    DBConnect,
    atomic_db_session,
    close_db_session,
    commit_db_session,
    rollback_db_session,
)
from tests.proof.simulation.ledger import NEVER, Unit
from tests.proof.simulation.world import INSERT, World

_WRONG = text("SELECT 1/0")
_SLOW = text("SELECT pg_sleep(3.5)")
_TWICE = text("INSERT INTO unique_notes (body) VALUES (:body)")
_PAUSES = (0.0, 0.000_1, 0.002, 0.05)


class _Base(DeclarativeBase):
    pass


class Note(_Base):
    """A row of ``notes`` for the object-relational mapper."""

    __tablename__ = "notes"

    body: Mapped[str] = mapped_column(primary_key=True)


@dataclass(frozen=True)
class Job:
    """Work for a context.

    Attributes:
        run: does it; the units are those that ``open`` has made.
        sizes: how many rows each of its units has; all but the last are committed within.
        can_commit: whether the server would commit its last unit.
        ends_itself: whether it has committed all of its units when it returns.
        may_replace_cancellation: whether its own code may raise another error while a cancellation passes through it.

    """

    run: Callable[[World, DBConnect, Sequence[Unit]], Awaitable[None]]
    sizes: tuple[int, ...] = (2,)
    can_commit: bool = True
    ends_itself: bool = False
    may_replace_cancellation: bool = False

    def open(self, world: World, name: str) -> list[Unit]:
        """Note the job's units in the ledger."""
        return [world.ledger.open(f"{name}{number}", size) for number, size in enumerate(self.sizes)]


async def _pause(world: World) -> None:
    await asyncio.sleep(world.choices.choose(_PAUSES))


async def _insert(world: World, connection: DBConnect, body: str) -> None:
    await (await world.session(connection)).execute(INSERT, {"body": body})


async def _read(world: World, connection: DBConnect, _units: Sequence[Unit]) -> None:
    await (await world.session(connection)).execute(text("SELECT count(*) FROM notes"))
    await _pause(world)


async def _write(world: World, connection: DBConnect, units: Sequence[Unit]) -> None:
    for body in units[0].bodies():
        await _insert(world, connection, body)
        await _pause(world)


async def _add(world: World, connection: DBConnect, units: Sequence[Unit]) -> None:
    # The flush of the commit takes the connection.
    session = await world.session(connection)
    session.add_all(Note(body=body) for body in units[0].bodies())


async def _read_and_add(world: World, connection: DBConnect, units: Sequence[Unit]) -> None:
    session = await world.session(connection)
    await session.execute(text("SELECT 1"))
    await _pause(world)
    session.add_all(Note(body=body) for body in units[0].bodies())


async def _violate_constraint(world: World, connection: DBConnect, units: Sequence[Unit]) -> None:
    # The constraint is checked at COMMIT, which is refused.
    session = await world.session(connection)
    for _ in units[0].bodies():
        await session.execute(_TWICE, {"body": units[0].bodies()[0]})


async def _swallow(world: World, connection: DBConnect, units: Sequence[Unit]) -> None:
    # The statement that fails makes the server answer COMMIT by ROLLBACK.
    for body in units[0].bodies():
        await _insert(world, connection, body)
    try:
        await (await world.session(connection)).execute(_WRONG)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
    await _pause(world)


async def _savepoint(world: World, connection: DBConnect, units: Sequence[Unit]) -> None:
    first, second = units[0].bodies()
    session = await world.session(connection)
    await _insert(world, connection, first)
    try:
        async with session.begin_nested():
            await _insert(world, connection, f"{NEVER}.{first}")
            await _pause(world)
            await session.execute(_WRONG)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
    await _insert(world, connection, second)


async def _commit_early(world: World, connection: DBConnect, units: Sequence[Unit]) -> None:
    early, late = units
    for body in early.bodies():
        await _insert(world, connection, body)
    await commit_db_session(connection)
    early.told = "success"
    await _pause(world)
    for body in late.bodies():
        await _insert(world, connection, body)


async def _give_up_early(world: World, connection: DBConnect, units: Sequence[Unit]) -> None:
    await _insert(world, connection, f"{NEVER}.{units[0].name}")
    await world.choices.choose((rollback_db_session, close_db_session))(connection)
    await _pause(world)
    for body in units[0].bodies():
        await _insert(world, connection, body)


async def _atomic(world: World, connection: DBConnect, units: Sequence[Unit]) -> None:
    early, late = units
    async with atomic_db_session(connection) as session:
        for body in early.bodies():
            await session.execute(INSERT, {"body": body})
            await _pause(world)
    early.told = "success"
    async with atomic_db_session(connection) as session:
        for body in late.bodies():
            await session.execute(INSERT, {"body": body})


async def _time_out(world: World, connection: DBConnect, units: Sequence[Unit]) -> None:
    # The session stays usable after a time-out of the application's own.
    session = await world.session(connection)
    limit = world.choices.choose((0.5, 0.000_1, 0.001))
    try:
        async with asyncio.timeout(limit):
            await session.execute(text("SELECT 1"))
            await session.execute(_SLOW)
    except TimeoutError:
        await rollback_db_session(connection)
    for body in units[0].bodies():
        await _insert(world, connection, body)


JOBS: dict[str, Job] = {
    "write": Job(_write),
    "add": Job(_add),
    "read_and_add": Job(_read_and_add),
    "read": Job(_read, sizes=(0,)),
    "violate_constraint": Job(_violate_constraint, can_commit=False),
    "swallow": Job(_swallow, can_commit=False),
    # The block of a SAVEPOINT rolls it back. On a dead connection this fails, and the error replaces the cancellation.
    "savepoint": Job(_savepoint, may_replace_cancellation=True),
    "commit_early": Job(_commit_early, sizes=(2, 2)),
    "give_up_early": Job(_give_up_early),
    "atomic": Job(_atomic, sizes=(2, 2), ends_itself=True),
    "time_out": Job(_time_out),
}
