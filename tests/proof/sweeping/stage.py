"""What a scenario plays on: connections, and units of work that take down what their caller was told."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from context_async_sqlalchemy import DBConnect, db_session
from tests.proof.sweeping.kinds import Kind
from tests.proof.sweeping.points import WatchedTask
from tests.proof.sweeping.rows import Row, Witness
from tests.proof.sweeping.tap import Tap

Recover = Callable[[], Awaitable[None]]
Told = Literal["nothing", "success", "failure", "discarded", "gone"]


@dataclass(eq=False)
class Unit:
    """Rows that are committed together or not at all."""

    name: str
    rows: int
    told: Told = "nothing"
    error: BaseException | None = None
    cancellation: "Cancellation | None" = None
    is_due: bool = False
    """Whether it has to succeed though another one has failed."""
    swallows: bool = False
    """Whether its caller swallows the error of a statement, so that it fails with another one."""
    is_watched: bool = True
    """Whether a cancellation of its task would be noticed."""


@dataclass
class Cancellation:
    """The first cancellation of the task that runs some units, while it does."""

    begun: frozenset[str]
    """The names of those units whose COMMIT had begun."""
    executed: dict[str, int]
    """How many statements of each unit had ended, where none was running."""


@dataclass(eq=False)
class Telling:
    """The units of one block: they end together, but for those of which something is said earlier."""

    stage: "Stage"
    units: dict[str, Unit]
    cancellation: Cancellation | None = None

    def success(self, *names: str) -> None:
        """Say that the caller was told of a success; by default of all units of which nothing was said."""
        for unit in self._select(names):
            unit.told = "success"
            unit.cancellation = self.cancellation
            self.stage.require_visible(unit)

    def discarded(self, name: str) -> None:
        """Say that the caller has rolled a unit back."""
        self.units[name].told = "discarded"

    def gone(self) -> None:
        """Say that nobody is left who could be told, of all units of which nothing was said."""
        for unit in self._select(()):
            unit.told = "gone"

    def failure(self, error: BaseException) -> None:
        """Say that the caller was told of a failure of all units of which nothing was said."""
        for unit in self._select(()):
            unit.told, unit.error, unit.cancellation = "failure", error, self.cancellation

    def cancelled(self) -> None:
        """Take down which COMMITs have begun, when the task is cancelled for the first time."""
        if self.cancellation is None and self.stage.kind.is_striking:
            tap, names = self.stage.tap, {unit.name for unit in self.units.values()}
            executed = {name: tap.statements[name] for name in names - tap.running}
            self.cancellation = Cancellation(frozenset(names & tap.begun), executed)

    def _select(self, names: tuple[str, ...]) -> list[Unit]:
        if names:
            return [self.units[name] for name in names]
        return [unit for unit in self.units.values() if unit.told == "nothing"]


async def _nothing() -> None:
    pass


@dataclass(eq=False)
class Stage:
    """One run of a scenario.

    Args:
        schedule: a prefix of the names of its units.
        connections: of the library under test.
        witness: who looks at the rows.
        tap: what SQLAlchemy says.
        kind: how it may be cancelled.
        visible: whether what is committed can be seen by the witness at all.

    """

    schedule: str
    connections: list[DBConnect]
    witness: Witness
    tap: Tap
    kind: Kind
    visible: bool = True
    recover: Recover = _nothing
    """Makes a fault end that would last: what a scenario awaits which goes on after one."""
    units: list[Unit] = field(default_factory=list[Unit])
    violations: list[str] = field(default_factory=list[str])

    @property
    def connection(self) -> DBConnect:
        """The first connection."""
        return self.connections[0]

    @contextmanager
    def told(self, *names: str, rows: int = 2, is_due: bool = False, swallows: bool = False) -> Generator[Telling]:
        """Take down what the caller of a block is told: a success if it ends, and a failure if it raises.

        Args:
            names: of the units whose end the block contains.
            rows: how many rows each has.
            is_due: whether they have to succeed though others have failed before.
            swallows: whether the caller swallows the error of a statement.

        """
        units = {name: Unit(f"{self.schedule}{name}", rows, is_due=is_due, swallows=swallows) for name in names}
        self.units += units.values()
        telling = Telling(self, units)
        with _watched(telling):
            try:
                yield telling
            except BaseException as error:
                telling.failure(error)
                raise
            else:
                telling.success()

    def row(self, unit: str, number: int) -> Row:
        """Make a row of a unit."""
        return Row(unit=f"{self.schedule}{unit}", number=number)

    async def add(self, unit: str, *numbers: int, connection: DBConnect | None = None) -> None:
        """Add rows of a unit to the session of the context: no statement runs before a flush."""
        session = await db_session(connection or self.connection)
        session.add_all([self.row(unit, number) for number in numbers])

    async def write(self, unit: str, *numbers: int, connection: DBConnect | None = None) -> None:
        """Insert rows of a unit now."""
        await self.add(unit, *numbers, connection=connection)
        await (await db_session(connection or self.connection)).flush()

    def require_visible(self, unit: Unit) -> None:
        """Take down a violation unless the rows of a unit, which is told to be a success, are there at once."""
        expected = unit.rows if self.visible else 0
        found = self.witness.rows(unit.name)
        if found != expected:
            self.violations.append(f"{self.short(unit)}: told success while {found} of {expected} rows were there")

    def short(self, unit: Unit) -> str:
        """Name a unit as the scenario does."""
        return unit.name.removeprefix(self.schedule)


@contextmanager
def _watched(telling: Telling) -> Generator[None]:
    """Let the task tell of its cancellation, if it is one that can."""
    task = asyncio.current_task()
    if not isinstance(task, WatchedTask):
        for unit in telling.units.values():
            unit.is_watched = False
        yield
        return
    before = task.on_cancel

    def cancelled() -> None:
        telling.cancelled()
        if before is not None:
            before()

    task.on_cancel = cancelled
    try:
        yield
    finally:
        task.on_cancel = before
