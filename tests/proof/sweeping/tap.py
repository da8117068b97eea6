"""What SQLAlchemy itself says of checkouts and COMMITs: what the library's records are compared with."""

from collections import Counter
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine


class Tap:
    """Listens to one or more engines.

    Attributes:
        checkouts: how many connections were taken.
        begun: the units whose COMMIT has begun: SQLAlchemy tells of it in the same turn of the event loop in which
            the driver writes its first byte.
        read_only_commits: how many COMMITs were of no unit.
        statements: how many statements have begun in the transaction of each unit, from its first INSERT.
        running: the units whose statement has not ended.

    """

    def __init__(self) -> None:
        self.checkouts = 0
        self.begun: set[str] = set()
        self.read_only_commits = 0
        self.statements: Counter[str] = Counter()
        self.running: set[str] = set()
        self._units: dict[int, str] = {}

    def listen_to(self, engine: AsyncEngine) -> None:
        """Begin to listen to an engine, whatever pool it will have."""
        event.listen(engine.sync_engine, "checkout", self._checked_out)
        event.listen(engine.sync_engine, "before_cursor_execute", self._executes)
        event.listen(engine.sync_engine, "after_cursor_execute", self._executed)
        event.listen(engine.sync_engine, "commit", self._commits)
        event.listen(engine.sync_engine, "rollback", self._rolls_back)

    def forget(self) -> None:
        """Forget what was heard."""
        self.checkouts = self.read_only_commits = 0
        self.begun.clear()
        self.statements.clear()
        self.running.clear()
        self._units.clear()

    def _checked_out(self, dbapi_connection: object, *_: object) -> None:
        self.checkouts += 1
        self._units.pop(id(dbapi_connection), None)

    def _executes(
        self, connection: Connection, _cursor: object, statement: str, parameters: Any, _context: object, many: bool
    ) -> None:
        if statement.startswith("INSERT INTO proof_rows"):
            first = parameters[0] if many else parameters
            self._units[id(connection.connection.dbapi_connection)] = str(first[0])
        unit = self._units.get(id(connection.connection.dbapi_connection))
        if unit is not None:
            self.statements[unit] += 1
            self.running.add(unit)

    def _executed(self, connection: Connection, *_: object) -> None:
        self.running.discard(self._units.get(id(connection.connection.dbapi_connection), ""))

    def _commits(self, connection: Connection) -> None:
        unit = self._units.pop(id(connection.connection.dbapi_connection), None)
        if unit is None:
            self.read_only_commits += 1
        else:
            self.begun.add(unit)

    def _rolls_back(self, connection: Connection) -> None:
        if not connection.invalidated:
            self._units.pop(id(connection.connection.dbapi_connection), None)
