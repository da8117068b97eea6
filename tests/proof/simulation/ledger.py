"""Units of work: which rows each of them writes, what its caller was told, and whether the two agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.proof.simulation.postgres.sql import Database, Write

Told = Literal["nothing", "success", "failure", "unknown"]

NEVER = "never"
"""The unit of rows that no COMMIT may contain."""


@dataclass(eq=False)
class Unit:
    """Rows that are committed together or not at all: ``name.0``, ``name.1``, and so on.

    Attributes:
        told: what the caller was told of it.
        cancelled_at: the instant at which the caller was cancelled first.

    """

    name: str
    size: int = 2
    told: Told = "nothing"
    cancelled_at: int | None = None

    def bodies(self) -> list[str]:
        """Return the bodies of its rows."""
        return [f"{self.name}.{number}" for number in range(self.size)]


class Ledger:
    """All units of a schedule.

    Args:
        violate: called with a rule and a detail when one is broken.

    """

    def __init__(self, violate: Callable[[str, str], None]) -> None:
        self._violate = violate
        self._databases: list[Database] = []
        self._units: dict[str, Unit] = {}

    def watch(self, database: Database) -> None:
        """Look at every transaction that takes effect there."""
        self._databases.append(database)
        database.on_commit.append(self._look_at_commit)

    def open(self, name: str, size: int = 2) -> Unit:
        """Note a unit that is about to begin."""
        unit = self._units[name] = Unit(name, size)
        return unit

    def unit(self, name: str) -> Unit:
        """Return the unit of a name."""
        return self._units[name]

    def units_of(self, writes: Sequence[Write]) -> list[Unit]:
        """Return the units to which rows belong."""
        names = dict.fromkeys(body.partition(".")[0] for _, body in writes)
        return [self._units[name] for name in names if name in self._units]

    def is_there(self, unit: Unit) -> bool:
        """Tell whether all rows of a unit are committed."""
        return unit.size == 0 or self._count(unit) == unit.size

    def require_there(self, unit: Unit, when: str) -> None:
        """Check that a unit is committed by the time at which its success is told."""
        if not self.is_there(unit):
            self._violate("success is told before the rows are there", f"{unit.name}: {when}")

    def check(self) -> None:
        """Compare all units with the rows."""
        for unit in self._units.values():
            if unit.told == "success":
                self.require_there(unit, "at the end")
            elif unit.told == "failure" and unit.size and self._count(unit):
                self._violate("failure was told, and the rows are there", unit.name)

    def _count(self, unit: Unit) -> int:
        mine = set(unit.bodies())
        return sum(body in mine for database in self._databases for rows in database.rows.values() for body in rows)

    def _look_at_commit(self, writes: Sequence[Write]) -> None:
        bodies = [body for _, body in writes]
        for unit in self.units_of(writes):
            if sorted(body for body in bodies if body.partition(".")[0] == unit.name) != unit.bodies():
                self._violate("a part of a unit is committed", f"{unit.name}: {bodies}")
        if any(body.startswith(NEVER) for body in bodies):
            self._violate("rows of a savepoint that was rolled back are committed", str(bodies))
