"""The rows that units of work write, and a client of the database that looks at them without the event loop."""

from types import TracebackType
from typing import LiteralString, Self

import psycopg
from sqlalchemy import make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.support.database import APPLICATION_NAME

# A COMMIT takes two milliseconds, so that a success that is told before its end is told measurably too early.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS proof_rows (unit text, number int, PRIMARY KEY (unit, number));
CREATE OR REPLACE FUNCTION take_two_milliseconds() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(0.002); RETURN NULL; END';
DROP TRIGGER IF EXISTS at_commit ON proof_rows;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON proof_rows
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.number = 1) EXECUTE FUNCTION take_two_milliseconds();
TRUNCATE proof_rows;
"""


class _Base(DeclarativeBase):
    pass


class Row(_Base):
    """One of the rows of a unit of work; its rows have the numbers from 1."""

    __tablename__ = "proof_rows"

    unit: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)


class Witness:
    """Another client of the database: its answers come at once, while no task of the event loop can go on.

    Args:
        url: the SQLAlchemy URL of the database.

    """

    def __init__(self, url: str) -> None:
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection = psycopg.connect(plain, autocommit=True)

    def __enter__(self) -> Self:
        self._connection.execute(_SCHEMA)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def rows(self, unit: str) -> int:
        """Count the rows of a unit that are committed."""
        return self._number("SELECT count(*) FROM proof_rows WHERE unit = %s", unit)

    def rows_of(self, schedule: str) -> dict[str, int]:
        """Count the committed rows of each unit of a schedule."""
        query = "SELECT unit, count(*) FROM proof_rows WHERE starts_with(unit, %s) GROUP BY 1"
        return dict(self._connection.execute(query, (schedule,)).fetchall())

    def backends(self) -> int:
        """Count the server processes of the library under test."""
        return self._number("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", APPLICATION_NAME)

    def busy_backends(self) -> int:
        """Count those of them that run a statement or have a transaction open."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND state <> 'idle'"
        return self._number(query, APPLICATION_NAME)

    def _number(self, query: LiteralString, parameter: str) -> int:
        found = self._connection.execute(query, (parameter,)).fetchone()
        assert found is not None
        return int(found[0])
