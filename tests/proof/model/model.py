"""The reference model: rows that another client sees, transactions, and the error of each call.

It knows SQLAlchemy's Session and PostgreSQL's transactions as far as the rules of the machine reach:

- A failed statement aborts the transaction on the server until a ROLLBACK, or a ROLLBACK TO a savepoint.
- A failed flush rolls back to the innermost savepoint and leaves the session inactive until it is rolled back.
- A savepoint reaches the server with the first statement after it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, PendingRollbackError

from context_async_sqlalchemy import (
    ContextAlreadyInitiatedError,
    ContextNotInitiatedError,
    FailedTransactionError,
    PartialCommitError,
)

BAD = -1
"""A row that the database refuses at the flush."""
DOOM = -2
"""A row that the database refuses at the COMMIT."""
FAILURE = -3
"""A statement that fails."""


class HandlerError(Exception):
    """The handler's own error, which has nothing to do with the database."""


class Refused(Exception):  # noqa: N818 - the prediction of an error
    """The model's prediction that a call raises.

    Args:
        error: the type of the error.
        told: what a ``PartialCommitError`` names: committed, failed, rolled back.

    """

    def __init__(self, error: type[Exception], told: tuple[object, ...] = ()) -> None:
        super().__init__(error, told)
        self.error = error
        self.told = told


@dataclass
class Savepoint:
    """A savepoint: how many rows there were, and whether the server knows it yet."""

    rows: int
    is_on_server: bool = False


@dataclass(eq=False)
class Transaction:
    """A transaction of a session, from its begin to its end."""

    has_connection: bool = False
    is_open_on_server: bool = False
    is_aborted: bool = False
    is_inactive: bool = False
    rows: list[int] = field(default_factory=list[int])
    pending: list[int] = field(default_factory=list[int])
    savepoints: list[Savepoint] = field(default_factory=list[Savepoint])
    open_streams: int = 0

    def execute(self, row: int | None) -> None:
        if self.is_inactive:
            raise Refused(PendingRollbackError)
        self.flush()
        self._reach_server()
        if row == FAILURE:
            self.is_aborted = True
            raise Refused(DBAPIError)
        self.rows += [] if row is None else [row]

    def flush(self) -> None:
        if not self.pending:
            return
        if self.is_inactive:
            raise Refused(PendingRollbackError)
        pending, self.pending = self.pending, []
        try:
            self._reach_server()
            if BAD in pending:
                raise Refused(IntegrityError)
        except Refused:
            self._back_to_savepoint()
            self.is_inactive = True
            raise
        self.rows += pending

    def prepare(self) -> None:
        """Flush, and ask the server whether the transaction has failed, before the first COMMIT of a context."""
        self.flush()
        if self.is_aborted:
            raise Refused(FailedTransactionError)

    def begin_nested(self) -> None:
        if self.is_inactive:
            raise Refused(PendingRollbackError)
        self.flush()
        self.savepoints.append(Savepoint(len(self.rows)))

    def release(self) -> None:
        self.flush()
        self.savepoints.pop()

    def roll_back_to_savepoint(self) -> None:
        self.pending.clear()
        self._back_to_savepoint()
        self.savepoints.pop()
        self.is_inactive = False

    @property
    def will_fail(self) -> bool:
        """Whether its commit fails."""
        return self.is_aborted or self.is_inactive or BAD in self.pending or DOOM in self.rows

    def _back_to_savepoint(self) -> None:
        innermost = self.savepoints[-1] if self.savepoints else Savepoint(0, is_on_server=True)
        del self.rows[innermost.rows :]
        if innermost.is_on_server:
            self.is_aborted = False
        if not self.savepoints:
            self.is_open_on_server = False

    def _reach_server(self) -> None:
        self.has_connection = self.is_open_on_server = True
        if self.is_aborted:
            raise Refused(DBAPIError)
        for savepoint in self.savepoints:
            savepoint.is_on_server = True


class Session:
    """A session of a context, or one that the application finishes itself."""

    def __init__(self, model: "Model", connection: str) -> None:
        self.model = model
        self.connection = connection
        self.transaction: Transaction | None = None

    def begin(self) -> Transaction:
        if self.transaction is None:
            self.transaction = Transaction()
            self.model.transactions.append(self.transaction)
        return self.transaction

    def commit(self) -> None:
        """Commit; whatever comes of it, the transaction has ended."""
        transaction, self.transaction = self.transaction, None
        if transaction is None:
            return
        if transaction.is_inactive:
            raise Refused(PendingRollbackError)
        transaction.flush()
        if transaction.is_aborted:
            raise Refused(FailedTransactionError)
        if DOOM in transaction.rows:
            raise Refused(IntegrityError)
        self.model.visible |= set(transaction.rows)
        self.model.commits += transaction.has_connection

    def roll_back(self) -> None:
        self.transaction = None


@dataclass
class Unit:
    """A context that is open."""

    sessions: dict[str, Session] = field(default_factory=dict[str, Session])
    is_rollback_only: bool = False


class Model:
    """The contexts that are open, the innermost last; and what their sessions have done."""

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.own: list[Session] = []
        """Sessions that no context finishes."""
        self.transactions: list[Transaction] = []
        self.visible: set[int] = set()
        self.commits = 0

    def current(self) -> Unit:
        if not self.units:
            raise Refused(ContextNotInitiatedError)
        return self.units[-1]

    def open(self, *, force: bool) -> None:
        if self.units and not force:
            raise Refused(ContextAlreadyInitiatedError)
        self.units.append(Unit())

    def session(self, connection: str) -> Session:
        return self.current().sessions.setdefault(connection, Session(self, connection))

    def execute(self, connection: str, row: int | None) -> None:
        self.session(connection).begin().execute(row)

    def commit(self, connection: str) -> None:
        if session := self.current().sessions.get(connection):
            session.commit()

    def roll_back(self, connection: str) -> None:
        if session := self.current().sessions.get(connection):
            session.roll_back()

    def atomic(self, connection: str, mode: str, body: Iterable[int | None]) -> None:
        if mode not in ("commit", "rollback", "append", "raise"):
            raise Refused(ValueError)
        session = self.session(connection)
        if session.transaction is not None:
            if mode == "raise":
                raise Refused(InvalidRequestError)
            if mode == "commit":
                session.commit()
            elif mode == "rollback":
                session.roll_back()
        transaction = session.begin()
        try:
            for row in body:
                if row == BAD:
                    raise Refused(HandlerError)
                transaction.execute(row)
        except Refused:
            session.roll_back()
            raise
        session.commit()

    def end_transactions(self, *, commit: bool, spares_streams: bool = False) -> None:
        """Flush all sessions, then commit them in the order of their first use; the first failure ends that."""
        unit = self.current()
        work = [
            session
            for session in unit.sessions.values()
            if session.transaction is not None and not (spares_streams and session.transaction.open_streams)
        ]
        names = tuple(session.connection for session in work)
        if not commit or unit.is_rollback_only:
            for session in work:
                session.roll_back()
            return
        try:
            for session in work:
                session.begin().prepare()
        except Refused:
            for session in work:
                session.roll_back()
            raise
        for position, session in enumerate(work):
            try:
                session.commit()
            except Refused as refused:
                for rest in work[position:]:
                    rest.roll_back()
                if position > 0:
                    told = (names[:position], names[position], names[position + 1 :])
                    raise Refused(PartialCommitError, told) from refused
                raise

    def leave(self, *, commit: bool) -> None:
        try:
            self.end_transactions(commit=commit)
        finally:
            self.units.pop()

    def abandon(self) -> None:
        """Leave a context without closing its sessions."""
        self.own += self.units.pop().sessions.values()

    def pop(self, connection: str) -> None:
        if self.units and (session := self.units[-1].sessions.pop(connection, None)):
            self.own.append(session)

    def put(self, session: Session) -> None:
        sessions = self.current().sessions
        if replaced := sessions.get(session.connection):
            self.own.append(replaced)
        if session in self.own:
            self.own.remove(session)
        sessions[session.connection] = session

    def sessions(self) -> list[Session]:
        """Return all sessions that are not closed."""
        return [session for unit in self.units for session in unit.sessions.values()] + self.own
