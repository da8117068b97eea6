"""What goes wrong, and with what a unit of work may fail by it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from context_async_sqlalchemy import CommitTimeoutError
from tests.proof.faults.wire import Link, Spoil, Wire, failing, query
from tests.proof.sweeping.world import POOL_SIZE, World
from tests.support.database import FAILING_COMMIT

OnFault = Callable[[], None]
Prepare = Callable[[World], Coroutine[Any, Any, None]]
Plant = Callable[[World, Wire, OnFault], AbstractAsyncContextManager[None]]

FINISH_TIMEOUT = 0.25
"""Seconds, of the application."""
_SILENCE = 0.325
"""Seconds for which a connection is silent before it is lost."""

_DRIVER_ERRORS = (DBAPIError, asyncpg.PostgresError)
"""SQLAlchemy does not wrap those of a server-side cursor."""

_REFUSED_COMMIT = query(f"{FAILING_COMMIT}; COMMIT")
_numbers = count()


@dataclass(frozen=True)
class Fault:
    """One fault of one run.

    Args:
        name: as tokens have it.
        expected: with what a unit of work fails by it.
        plant: plants it during a block, and calls back when it has happened.
        prepare: brings the pools into the state that it needs.
        is_slow: whether a time-out has to pass.
        is_alone: whether to a cancelled caller it is the same as another one, and is played without cancellations.

    """

    name: str
    expected: tuple[type[BaseException], ...]
    plant: Plant
    prepare: Prepare | None = None
    is_slow: bool = False
    is_alone: bool = False

    @property
    def may_hit_commit(self) -> bool:
        """Whether a COMMIT may fail by it: its own fault, or a connection that is lost before its next operation."""
        return self.name.startswith("commit-") or self.name.endswith("-lost-idle")


def _at(sort: str, number: int, spoil: Spoil) -> Plant:
    @asynccontextmanager
    async def plant(_world: World, wire: Wire, on_fault: OnFault) -> AsyncGenerator[None]:
        wire.watch(sort, number, spoil, on_fault)
        yield
        wire.watch()

    return plant


def answered_by_rollback(number: int) -> Fault:
    """Make the fault of a COMMIT which the server answers by ROLLBACK while the driver has heard of no error."""
    return Fault(f"commit-{number}-answered-by-rollback", (Exception,), _at("commit", number, _break_first))


def faults_of(sort: str, number: int, *, has_time_limit: bool) -> Iterator[Fault]:
    """Make the faults of one operation.

    Args:
        sort: of the operation, as the wire has it.
        number: among those of its sort, from 1.
        has_time_limit: whether the scenario limits the time of its statements.

    """

    def fault(name: str, expected: type[BaseException] | tuple[type[BaseException], ...], spoil: Spoil) -> Fault:
        expected = expected if isinstance(expected, tuple) else (expected,)
        is_alone = name == "silent-undone" or (name == "lost-after" and sort != "commit")
        return Fault(
            f"{sort}-{number}-{name}",
            expected,
            _at(sort, number, spoil),
            is_slow=name.startswith("silent"),
            is_alone=is_alone,
        )

    yield fault("lost-before", _DRIVER_ERRORS, _lose_before)
    yield fault("lost-after", _DRIVER_ERRORS, _lose_after)
    if sort == "commit":
        yield fault("refused", IntegrityError, _refuse)
        yield fault("silent-done", CommitTimeoutError, _do_silently)
        yield fault("silent-undone", CommitTimeoutError, _ignore)
    elif sort == "rollback":
        yield fault("silent", Exception, _ignore)
    elif sort == "statement":
        # PostgreSQL refuses no BEGIN; asyncpg would take the connection to be in a transaction for good.
        yield fault("fails", _DRIVER_ERRORS, _fail)
        yield fault("lost-idle", _DRIVER_ERRORS, _lose_idle)
        if has_time_limit:
            yield fault("silent", TimeoutError, _ignore)


def _lose_before(link: Link, _batch: bytes) -> None:
    link.cut()


def _lose_after(link: Link, batch: bytes) -> None:
    link.swallow_answer(link.cut)
    link.pass_on(batch)


def _lose_idle(link: Link, batch: bytes) -> None:
    """Lose the connection between this operation and the next one."""
    link.await_answer(link.cut)
    link.pass_on(batch)


def _fail(link: Link, batch: bytes) -> None:
    link.pass_on(failing(batch))


def _refuse(link: Link, _batch: bytes) -> None:
    link.pass_on(_REFUSED_COMMIT)


def _break_first(link: Link, batch: bytes) -> None:
    """Let a statement fail of which the driver never hears, and the server answer the COMMIT by ROLLBACK."""
    link.swallow_answer(lambda: link.pass_on(batch))
    link.pass_on(failing(batch))


def _do_silently(link: Link, batch: bytes) -> None:
    link.swallow_answer(lambda: None)
    link.pass_on(batch)
    _lose_later(link)


def _ignore(link: Link, _batch: bytes) -> None:
    _lose_later(link)


def _lose_later(link: Link) -> None:
    # SQLAlchemy and asyncpg wait for two more seconds for the end of a connection that says nothing.
    asyncio.get_running_loop().call_later(_SILENCE, link.cut)


async def _cool(world: World) -> None:
    await world.cool()


async def _keep_one(world: World) -> None:
    await world.cool()
    await world.use(f"{world.scenario.name}/one/{next(_numbers)}/")


@asynccontextmanager
async def _refusing(world: World, wire: Wire, on_fault: OnFault) -> AsyncGenerator[None]:
    await wire.refuse()
    world.recover = wire.heal
    on_fault()
    yield
    await wire.heal()


@asynccontextmanager
async def _silent(world: World, wire: Wire, on_fault: OnFault) -> AsyncGenerator[None]:
    wire.watch(on_fault=on_fault)
    wire.silence()
    world.recover = wire.heal
    yield
    await wire.heal()
    wire.watch()


def _exhausted(free: int) -> Plant:
    @asynccontextmanager
    async def plant(world: World, _wire: Wire, on_fault: OnFault) -> AsyncGenerator[None]:
        async with AsyncExitStack() as held:
            for connection in world.connections:
                assert connection.engine is not None
                for _ in range(POOL_SIZE - free):
                    await held.enter_async_context(connection.engine.connect())
            world.recover = held.aclose
            on_fault()
            yield

    return plant


SILENT_FOR_GOOD = Fault("commit-1-silent-for-good", (CommitTimeoutError,), _at("commit", 1, lambda _link, _batch: None))
"""A server that neither answers nor ends."""

POOL_FAULTS = [
    Fault("connect-refused", (OSError,), _refusing, _cool),
    Fault("connect-refused-second", (OSError,), _refusing, _keep_one),
    Fault("connect-silent", (TimeoutError,), _silent, _cool, is_slow=True),
    Fault("connect-silent-second", (TimeoutError,), _silent, _keep_one, is_slow=True),
    Fault("exhausted", (PoolTimeoutError,), _exhausted(0), is_slow=True),
    Fault("exhausted-but-one", (PoolTimeoutError,), _exhausted(1), is_slow=True),
]
