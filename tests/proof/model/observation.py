"""The database as another client sees it: a driver, a connection and a thread of control of its own."""

from time import monotonic, sleep
from types import TracebackType
from typing import Self

import psycopg
from sqlalchemy import make_url

PATIENCE = 2.0
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS model_rows (id int PRIMARY KEY, body text NOT NULL)",
    "CREATE TABLE IF NOT EXISTS model_dooms (id int CONSTRAINT model_doom UNIQUE DEFERRABLE INITIALLY DEFERRED)",
)


class OtherClient:
    """Looks at rows that are committed, and at the server's processes.

    Args:
        url: the SQLAlchemy URL of the database.

    """

    def __init__(self, url: str) -> None:
        address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection = psycopg.connect(address, autocommit=True)
        for statement in SCHEMA:
            self._connection.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def empty(self) -> None:
        """Delete all rows."""
        self._connection.execute("TRUNCATE model_rows")

    def rows(self, after: int) -> set[int]:
        """Return the committed rows with a number above one."""
        return {row[0] for row in self._connection.execute("SELECT id FROM model_rows WHERE id > %s", (after,))}

    def has_in_transaction(self, application_name: str, count: int) -> bool:
        """Tell whether so many server processes of an application are in a transaction.

        A process notices later that its client has gone, hence the wait.
        """
        deadline = monotonic() + PATIENCE
        while self._in_transaction(application_name) != count:
            if monotonic() > deadline:
                return False
            sleep(0.005)
        return True

    def _in_transaction(self, application_name: str) -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND state LIKE 'idle in trans%%'"
        row = self._connection.execute(query, (application_name,)).fetchone()
        assert row is not None
        return int(row[0])
