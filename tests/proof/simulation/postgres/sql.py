"""Transactions of the model: visibility, savepoints, failed transactions, a constraint that is checked at COMMIT."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

INT4, INT8, TEXT, VARCHAR, VOID = 23, 20, 25, 1043, 2278

VERSION = "PostgreSQL 18.0 (model)"
Value = str | int
Write = tuple[str, str]
"""A table, and the body of a row that was inserted."""

State = Literal["idle", "open", "failed"]
_SETTINGS = {"standard_conforming_strings": "on", "transaction isolation level": "read committed"}


class SqlError(Exception):
    """An error that the server answers."""

    def __init__(self, sqlstate: str, message: str, *, is_fatal: bool = False) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.is_fatal = is_fatal


@dataclass(frozen=True)
class Table:
    """A table with one column, ``body``."""

    name: str
    is_unique: bool = False
    """Whether there is a unique constraint, deferred to COMMIT."""


class Database:
    """The committed rows.

    Attributes:
        rows: the bodies in each table, in the order of their commits.
        on_commit: called with the rows of each transaction that has just taken effect.

    """

    def __init__(self, tables: Sequence[Table] = (Table("notes"), Table("unique_notes", is_unique=True))) -> None:
        self.tables = {table.name: table for table in tables}
        self.rows: dict[str, list[str]] = {table.name: [] for table in tables}
        self.on_commit: list[Callable[[Sequence[Write]], None]] = []
        self.commits = 0

    def apply(self, writes: Sequence[Write]) -> None:
        """Let a transaction take effect, or refuse it.

        Raises:
            SqlError: a row is there twice.

        """
        for name, table in self.tables.items():
            after = self.rows[name] + [body for written, body in writes if written == name]
            if table.is_unique and len(set(after)) < len(after):
                raise SqlError("23505", f'duplicate key value violates unique constraint "{name}_body"')
        for name, body in writes:
            self.rows[name].append(body)
        self.commits += 1
        for look in self.on_commit:
            look(writes)


@dataclass
class Result:
    """What a statement answers."""

    tag: str
    rows: list[Value] = field(default_factory=list[Value])


@dataclass(frozen=True)
class Statement:
    """A statement that has been analysed."""

    sql: str
    run: "Callable[[Session, Sequence[str]], Result]"
    parameters: tuple[int, ...] = ()
    column: tuple[str, int] | None = None
    kind: Literal["begin", "commit", "rollback", "statement"] = "statement"
    ends_failure: bool = False
    """Whether it is allowed in a failed transaction."""
    seconds: float = 0.0
    """How long it takes at least."""


class Session:
    """What a server process knows of its transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.state: State = "idle"
        self.writes: list[Write] = []
        self.begun = 0
        """How many transactions have begun."""
        self._savepoints: list[tuple[str, int]] = []

    def analyse(self, sql: str) -> Statement | None:
        """Analyse a statement; None is an empty one.

        Raises:
            SqlError: it is wrong, or the transaction has failed.

        """
        text = sql.strip().rstrip(";").strip()
        if not text:
            return None
        for pattern, make in _GRAMMAR:
            if match := pattern.fullmatch(text):
                statement = make(text, match)
                break
        else:
            raise SqlError("42601", f"syntax error: {sql}")
        self.require_usable(statement)
        table = _table_of(text)
        if table is not None and table not in self.database.tables:
            raise SqlError("42P01", f'relation "{table}" does not exist')
        return statement

    def require_usable(self, statement: Statement | None) -> None:
        """Raise if the transaction has failed and the statement (None: an empty one) does not end that."""
        if self.state == "failed" and not (statement and statement.ends_failure):
            raise SqlError("25P02", "current transaction is aborted, commands ignored until end of transaction block")

    def execute(self, statement: Statement, arguments: Sequence[str] = ()) -> Result:
        """Run a statement, in a transaction of its own if none is open.

        Raises:
            SqlError: it has failed; so has the transaction then.

        """
        try:
            self.require_usable(statement)
            result = statement.run(self, arguments)
            if self.state == "idle" and self.writes:
                self._apply()
        except SqlError:
            self.fail()
            raise
        return result

    def fail(self) -> None:
        """Let the transaction fail, after an error."""
        if self.state == "idle":
            self.writes.clear()
        else:
            self.state = "failed"

    def visible(self, table: str) -> list[str]:
        """Return the rows that this session sees."""
        return self.database.rows[table] + [body for name, body in self.writes if name == table]

    def begin(self) -> Result:
        """Run BEGIN; within a transaction PostgreSQL only warns."""
        if self.state == "idle":
            self.begun += 1
        self.state = "open"
        return Result("BEGIN")

    def commit(self) -> Result:
        """Run COMMIT, which a failed transaction answers by ROLLBACK."""
        if self.state == "failed":
            return self.rollback()
        try:
            if self.state == "open":
                self._apply()
        finally:
            self.rollback()
        return Result("COMMIT")

    def rollback(self) -> Result:
        """Run ROLLBACK."""
        self.state = "idle"
        self.writes = []
        self._savepoints.clear()
        return Result("ROLLBACK")

    def savepoint(self, action: str, name: str) -> Result:
        """Run SAVEPOINT, ROLLBACK TO SAVEPOINT or RELEASE SAVEPOINT."""
        if self.state == "idle":
            raise SqlError("25P01", f"{action} can only be used in transaction blocks")
        if action == "SAVEPOINT":
            self._savepoints.append((name, len(self.writes)))
            return Result("SAVEPOINT")
        positions = [position for position, (known, _) in enumerate(self._savepoints) if known == name]
        if not positions:
            raise SqlError("3B001", f'savepoint "{name}" does not exist')
        position = positions[-1]
        if action == "RELEASE":
            del self._savepoints[position:]
            return Result("RELEASE")
        del self._savepoints[position + 1 :]
        del self.writes[self._savepoints[position][1] :]
        self.state = "open"
        return Result("ROLLBACK")

    def _apply(self) -> None:
        writes, self.writes = self.writes, []
        self.database.apply(writes)


def _table_of(text: str) -> str | None:
    match = re.search(r"\b(?:FROM|INTO) (\w+)", text, re.IGNORECASE)
    return match[1].lower() if match else None


def _constant(tag: str, column: tuple[str, int], value: Value) -> Callable[[str, re.Match[str]], Statement]:
    return lambda text, _match: Statement(text, lambda _session, _arguments: Result(tag, [value]), column=column)


def _begin(text: str, _match: re.Match[str]) -> Statement:
    return Statement(text, lambda session, _arguments: session.begin(), kind="begin")


def _commit(text: str, _match: re.Match[str]) -> Statement:
    return Statement(text, lambda session, _arguments: session.commit(), kind="commit", ends_failure=True)


def _rollback(text: str, _match: re.Match[str]) -> Statement:
    return Statement(text, lambda session, _arguments: session.rollback(), kind="rollback", ends_failure=True)


def _savepoint(text: str, match: re.Match[str]) -> Statement:
    action = match[1].split()[0].upper()
    return Statement(
        text,
        lambda session, _arguments: session.savepoint(action, match[2]),
        ends_failure=action == "ROLLBACK",
    )


def _insert_parameter(text: str, match: re.Match[str]) -> Statement:
    table = match[1].lower()

    def run(session: Session, arguments: Sequence[str]) -> Result:
        session.writes.append((table, arguments[0]))
        return Result("INSERT 0 1")

    return Statement(text, run, (VARCHAR if match[2] else TEXT,))


def _insert_literals(text: str, match: re.Match[str]) -> Statement:
    table = match[1].lower()
    bodies = re.findall(r"'([^']*)'", match[2])

    def run(session: Session, _arguments: Sequence[str]) -> Result:
        session.writes.extend((table, body) for body in bodies)
        return Result(f"INSERT 0 {len(bodies)}")

    return Statement(text, run)


def _select_bodies(text: str, match: re.Match[str]) -> Statement:
    table = match[1].lower()

    def run(session: Session, _arguments: Sequence[str]) -> Result:
        rows = sorted(session.visible(table))
        return Result(f"SELECT {len(rows)}", [*rows])

    return Statement(text, run, column=("body", TEXT))


def _count(text: str, match: re.Match[str]) -> Statement:
    table = match[1].lower()
    return Statement(
        text,
        lambda session, _arguments: Result("SELECT 1", [len(session.visible(table))]),
        column=("count", INT8),
    )


def _sleep(text: str, match: re.Match[str]) -> Statement:
    return Statement(
        text,
        lambda _session, _arguments: Result("SELECT 1", [""]),
        column=("pg_sleep", VOID),
        seconds=float(match[1]),
    )


def _number(text: str, match: re.Match[str]) -> Statement:
    number = int(match[1])
    return Statement(text, lambda _session, _arguments: Result("SELECT 1", [number]), column=("?column?", INT4))


def _division(text: str, _match: re.Match[str]) -> Statement:
    def run(_session: Session, _arguments: Sequence[str]) -> Result:
        raise SqlError("22012", "division by zero")

    return Statement(text, run, column=("?column?", INT4))


def _show(text: str, match: re.Match[str]) -> Statement:
    name = match[1].lower()
    value = _SETTINGS[name]
    return Statement(text, lambda _session, _arguments: Result("SHOW", [value]), column=(name.replace(" ", "_"), TEXT))


def _grammar(
    *rules: tuple[str, Callable[[str, re.Match[str]], Statement]],
) -> list[tuple[re.Pattern[str], Callable[[str, re.Match[str]], Statement]]]:
    return [(re.compile(pattern, re.IGNORECASE | re.DOTALL), make) for pattern, make in rules]


_GRAMMAR = _grammar(
    (r"BEGIN\b.*", _begin),
    (r"COMMIT", _commit),
    (r"ROLLBACK", _rollback),
    (r"(SAVEPOINT|ROLLBACK TO SAVEPOINT|RELEASE SAVEPOINT) (\w+)", _savepoint),
    (r"INSERT INTO (\w+) \(body\) VALUES \(\$1(::VARCHAR)?\)", _insert_parameter),
    (r"INSERT INTO (\w+) \(body\) VALUES ((?:\('[^']*'\)(?:, )?)+)", _insert_literals),
    (r"SELECT body FROM (\w+) ORDER BY body", _select_bodies),
    (r"SELECT count\(\*\) FROM (\w+)", _count),
    (r"SELECT pg_sleep\(([0-9.]+)\)", _sleep),
    (r"SELECT ([0-9]+)", _number),
    (r"SELECT 1/0", _division),
    (r"SHOW (standard_conforming_strings|transaction isolation level)", _show),
    (r"SELECT pg_catalog.version\(\)", _constant("SELECT 1", ("version", TEXT), VERSION)),
    (r"SELECT current_schema\(\)", _constant("SELECT 1", ("current_schema", TEXT), "public")),
)
