"""An application with its connections, and all that looks at it, for the many runs of one scenario."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect, db_context, db_session, setup_db
from context_async_sqlalchemy_aiohttp import LIFECYCLE
from tests.proof.sweeping.kinds import Kind
from tests.proof.sweeping.points import Meter, make_task
from tests.proof.sweeping.rows import Row, Witness
from tests.proof.sweeping.stage import Recover, Stage
from tests.proof.sweeping.tap import Tap
from tests.support.connections import connect_to, in_use
from tests.support.recorder import Recorder

Play = Callable[[Stage], Coroutine[Any, Any, None]]
Hook = Callable[[AsyncSession], Coroutine[Any, Any, None]]

Connect = Callable[[str, str], DBConnect]
"""Given a URL and a name, makes a connection."""

POOL_SIZE = 3

_NOT_OURS = (
    # asyncpg's own future, of a cancel request whose caller was cancelled too.
    "unexpected connection_lost() call",
    # asyncio's own callback, where a cancelled connect has closed the socket.
    "_sock_write_done",
)


@dataclass(frozen=True)
class Scenario:
    """Units of work through the library's public names.

    Args:
        name: as tokens have it.
        play: runs them.
        connections: how many databases they use.
        is_cold: whether the pools are empty at the start.
        goes_on: whether tasks of it go on when its caller is cancelled; ``asyncio.gather`` does not wait for them.
        has_time_limit: whether it limits the time of its statements itself.
        is_visible: whether others can see what is committed; not within ``rolled_back``.
        before_commit: the application's hook.
        after_commit: the application's hook.
        site: for a scenario over HTTP: what serves it.

    """

    name: str
    play: Play | None = None
    connections: int = 1
    is_cold: bool = False
    goes_on: bool = False
    has_time_limit: bool = False
    is_visible: bool = True
    before_commit: Hook | None = None
    after_commit: Hook | None = None
    site: "Site | None" = None


class Site(ABC):
    """A scenario over HTTP: handlers, and a client that calls them."""

    @abstractmethod
    def add_to(self, app: web.Application) -> None:
        """Add the handlers to an application that is set up."""

    @abstractmethod
    async def visit(self, world: "World", stage: Stage, meter: Meter, kind: Kind) -> None:
        """Make one request; the meter measures its handler."""


@dataclass(eq=False)
class World:
    """What a scenario is played in."""

    scenario: Scenario
    app: web.Application
    connections: list[DBConnect]
    recorder: Recorder
    witness: Witness
    tap: Tap
    failures: list[str] = field(default_factory=list[str])
    """What reached the event loop's exception handler."""
    port: int = 0
    recover: Recover | None = None
    """Makes the fault of a run end."""

    def in_use(self) -> int:
        """Count the connections that are out of their pools."""
        return sum(in_use(connection) for connection in self.connections)

    def open_contexts(self) -> int:
        """Count the contexts that have not ended."""
        return len(self.app[LIFECYCLE].live)

    def pending(self) -> int:
        """Count those that wait for a connection."""
        return sum(pool.read().pending for pool in self.recorder.pools)

    def forget(self) -> None:
        """Forget what was heard of the last run."""
        self.tap.forget()
        self.failures.clear()
        for heard in (self.recorder.checkouts, self.recorder.begun, self.recorder.contexts, self.recorder.failures):
            heard.clear()

    def told_by_the_loop(self, context: dict[str, Any]) -> None:
        """Keep what the event loop tells its exception handler."""
        told = f"{context.get('message')}: {context.get('exception')!r}"
        if not any(known in told for known in _NOT_OURS):
            self.failures.append(told)

    async def cool(self) -> None:
        """Close all pooled connections."""
        for connection in self.connections:
            assert connection.engine is not None
            await connection.engine.dispose()

    async def use(self, unit: str) -> None:
        """Run another unit of work on each connection."""
        for position, connection in enumerate(self.connections):
            await _write(connection, f"{unit}{position}")


async def _write(connection: DBConnect, unit: str) -> None:
    # Some sweeps allow a quarter of a second for a connect, which a busy machine needs now and then.
    for is_last in (False, False, False, True):
        try:
            async with asyncio.timeout(20), db_context():
                (await db_session(connection)).add(Row(unit=unit, number=2))
        except TimeoutError:
            if is_last:
                raise
        else:
            return


def connect_to_pool(url: str, name: str) -> DBConnect:
    """Make a connection with a pool for two contexts at once and one more."""
    return connect_to(url, name=name, pool_size=POOL_SIZE)


@asynccontextmanager
async def opened(
    scenario: Scenario, url: str, witness: Witness, *, finish_timeout: float = 10, connect: Connect = connect_to_pool
) -> AsyncGenerator[World]:
    """Make a world on the running event loop.

    Args:
        scenario: to be played in it.
        url: of the database.
        witness: of the rows.
        finish_timeout: seconds, of the application.
        connect: makes its connections.

    """
    loop = asyncio.get_running_loop()
    names = ("main", "other", "third")[: scenario.connections]
    connections = [connect(url, name) for name in names]
    recorder, tap = Recorder(), Tap()
    app = web.Application()
    setup_db(
        app,
        connections,
        observers=[recorder],
        metrics_path=None,
        finish_timeout=finish_timeout,
        before_commit=scenario.before_commit,
        after_commit=scenario.after_commit,
    )
    if scenario.site is not None:
        scenario.site.add_to(app)
    world = World(scenario, app, connections, recorder, witness, tap)
    for connection in connections:
        await connection.session_maker()
        assert connection.engine is not None
        tap.listen_to(connection.engine)
    await world.use(f"{scenario.name}/first/")
    loop.set_exception_handler(lambda _, context: world.told_by_the_loop(context))
    loop.set_task_factory(make_task)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1, access_log=None)
    await runner.setup()
    try:
        if scenario.site is not None:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            world.port = int(runner.addresses[0][1])
        yield world
    finally:
        await runner.cleanup()
        loop.set_task_factory(None)
        loop.set_exception_handler(None)
