"""The world of one schedule: its loop, servers and connections, and the invariants that hold in it."""

import asyncio
import gc
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import QueuePool

from context_async_sqlalchemy import DBConnect, db_context, db_session
from tests.proof.simulation.choices import Choices
from tests.proof.simulation.commits import CommitWatch
from tests.proof.simulation.ledger import Ledger
from tests.proof.simulation.loop import SimulatedLoop
from tests.proof.simulation.pools import PoolWatch
from tests.proof.simulation.postgres import Faults, ModelServer
from tests.proof.simulation.tally import Tally

FINISH_TIMEOUT = 10.0
"""The library's default; the virtual clock makes it cheap."""

_SETTLING = 60.0
_COLLECTED = 0.1
INSERT = text("INSERT INTO notes (body) VALUES (:body)")


@dataclass(frozen=True)
class Violation:
    """A rule that does not hold, and where."""

    rule: str
    detail: str


class World:
    """What a scenario works with.

    Args:
        loop: the simulated loop.
        choices: the schedule.

    Attributes:
        faults: what goes wrong with the servers; a scenario sets the budget.
        violations: what was found.

    """

    def __init__(self, loop: SimulatedLoop, choices: Choices) -> None:
        self.loop = loop
        self.choices = choices
        self.faults = Faults(choices)
        self.violations: list[Violation] = []
        self.ledger = Ledger(self.violate)
        self.tally = Tally()
        self.servers: list[ModelServer] = []
        self.connections: list[DBConnect] = []
        self._sessions: WeakSet[AsyncSession] = WeakSet()
        self._pool_watch = PoolWatch(self.violate)
        loop.after_turn.append(self._look_at_pools)

    def violate(self, rule: str, detail: str) -> None:
        """Note that a rule is broken."""
        violation = Violation(rule, detail)
        if violation not in self.violations:
            self.violations.append(violation)

    def story(self) -> tuple[str, ...]:
        """Tell what the servers did, in the order of time."""
        events = sorted(event for server in self.servers for event in server.story)
        return tuple(f"{seconds * 1000:12.3f} ms  {event}" for seconds, event in events)

    def serve(self, host: str = "database") -> ModelServer:
        """Start a model server."""
        server = ModelServer(self.loop, self.faults, host)
        self.servers.append(server)
        self.ledger.watch(server.database)
        # Half of the limit: the library may count from an earlier instant than the first byte.
        CommitWatch(self.loop, server, self.ledger, FINISH_TIMEOUT / 2, self.violate)
        return server

    def connect(
        self, server: ModelServer, *, pool_size: int, pool_timeout: float, max_overflow: int = 0, **options: Any
    ) -> DBConnect:
        """Make a connection of the library to a model server."""
        connection = DBConnect.from_url(
            f"postgresql+asyncpg://user@{server.host}:5432/app",
            name=server.host,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=pool_timeout,
            connect_args={"ssl": False, "timeout": 5},
            **options,
        )
        self.connections.append(connection)
        return connection

    async def session(self, connection: DBConnect) -> AsyncSession:
        """Return the session of the current context, and see later whether it goes with its context."""
        session = await db_session(connection)
        self._sessions.add(session)
        return session

    async def check_after(self, connection: DBConnect) -> None:
        """Check, when all actors have left, that nothing is left behind and that the connection still works."""
        self.faults.budget = 0
        await asyncio.sleep(_SETTLING)
        self._check_nothing_is_left()
        self._check_nothing_is_kept()
        try:
            async with db_context():
                unit = self.ledger.open(f"afterwards on {connection.name}")
                for body in unit.bodies():
                    await (await db_session(connection)).execute(INSERT, {"body": body})
        except Exception as error:  # noqa: BLE001 - any error is the finding
            self.violate("the connection does not work afterwards", repr(error))
        else:
            unit.told = "success"
        self.ledger.check()
        self.check_observed()

    def check_observed(self) -> None:
        """Check that the observer was told what the servers did, if there is one."""
        if not self.tally.pools:
            return
        commits = sum(server.database.commits for server in self.servers)
        for disagreement in self.tally.disagreements(commits):
            self.violate("the observer was told something else", disagreement)

    async def close(self) -> None:
        """Close the connections; nothing may be left of them."""
        for connection in self.connections:
            await connection.close()
        await self.check_closed()

    async def check_closed(self) -> None:
        """Check, when all engines are disposed of, that no connection to a server is left."""
        await asyncio.sleep(_SETTLING)
        for server in self.servers:
            if server.backends:
                self.violate("a connection is open after its engine's end", f"{server.host}: {[*server.backends]}")
        self._check_no_task_is_left()

    def _check_nothing_is_left(self) -> None:
        for connection in self.connections:
            engine = connection.engine
            pool = None if engine is None else engine.sync_engine.pool
            if isinstance(pool, QueuePool) and pool.checkedout():
                self.violate("a place in the pool is lost", f"{connection.name}: {pool.status()}")
        for server in self.servers:
            if server.in_transaction:
                self.violate("a transaction is left open", f"{server.host}: {server.in_transaction}")
        self._check_no_task_is_left()

    def _check_nothing_is_kept(self) -> None:
        # A collection takes longer than a schedule.
        if self.choices.happens(_COLLECTED):
            gc.collect()
            if self._sessions:
                self.violate("a session outlives its context", f"{len(self._sessions)} sessions")

    def _check_no_task_is_left(self) -> None:
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            self.violate("a task is left", ", ".join(sorted(left)))

    def _look_at_pools(self) -> None:
        engines = [connection.engine for connection in self.connections if connection.engine is not None]
        pools = [engine.sync_engine.pool for engine in engines]
        self._pool_watch.look_at([pool for pool in pools if isinstance(pool, QueuePool)])
