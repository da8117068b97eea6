"""Observes one dialect's calls of its driver: statements, COMMIT, ROLLBACK, SAVEPOINTs, two-phase commits.

The hooks replace public methods of the dialect on the instance. Events would report the same calls. But a single
listener of ConnectionEvents makes every transaction slower: SQLAlchemy builds objects for it even if its event never
happens, and goes on after the listener is removed. And no event reports the end of a COMMIT.
"""

from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any

from sqlalchemy.engine import Dialect

from context_async_sqlalchemy.observer import Transaction, TransactionOutcome

from .open_checkout import OpenCheckout

# The look-up of a connection's checkout raises one of these if there is no checkout. The connection is detached or
# invalidated, or the dialect makes its own queries on a first connection, or the call has no context.
NO_CHECKOUT = (AttributeError, KeyError, TypeError)


class DialectHooks:
    """The replaced methods of one dialect.

    Args:
        dialect: the dialect of one engine.
        open_checkouts: the checkouts to fill. The key is the pool's record of the connection.

    """

    def __init__(self, dialect: Dialect, open_checkouts: Mapping[object, OpenCheckout]) -> None:
        self._dialect = dialect
        self._open = open_checkouts
        # The value is our function, and the instance's attribute that it replaced, or None if there was none.
        self._replaced: dict[str, tuple[object, object]] = {}
        self._replace("do_execute", self._statement(dialect.do_execute))
        self._replace("do_executemany", self._statement(dialect.do_executemany))
        self._replace("do_execute_no_params", self._statement_without_parameters(dialect.do_execute_no_params))
        self._replace("do_commit", self._end(dialect.do_commit, "commit"))
        self._replace("do_rollback", self._end(dialect.do_rollback, "rollback"))
        self._replace("do_savepoint", self._savepoint(dialect.do_savepoint))
        self._replace("do_rollback_to_savepoint", self._savepoint(dialect.do_rollback_to_savepoint))
        self._replace("do_release_savepoint", self._savepoint(dialect.do_release_savepoint))
        self._replace("do_prepare_twophase", self._savepoint(dialect.do_prepare_twophase))
        self._replace("do_commit_twophase", self._twophase_end(dialect.do_commit_twophase, "commit"))
        self._replace("do_rollback_twophase", self._twophase_end(dialect.do_rollback_twophase, "rollback"))

    def remove(self) -> None:
        """Take the replacements back; one that was wrapped since stays, and only passes calls on."""
        attributes = vars(self._dialect)
        for name, (ours, before) in self._replaced.items():
            if attributes.get(name) is ours:
                if before is None:
                    delattr(self._dialect, name)
                else:
                    setattr(self._dialect, name, before)
        self._replaced.clear()

    def _replace(self, name: str, ours: Callable[..., Any]) -> None:
        self._replaced[name] = (ours, vars(self._dialect).get(name))
        setattr(self._dialect, name, ours)

    def _statement(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        open_checkouts, now, begin = self._open, perf_counter_ns, self._begin

        def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> Any:
            try:
                fairy = context.root_connection._dbapi_connection  # noqa: SLF001 - the public `connection` may reconnect
                checkout = open_checkouts[fairy._connection_record]  # noqa: SLF001 - the public way is slower
                is_server_side = context._is_server_side  # noqa: SLF001 - there is no public name
            except NO_CHECKOUT:
                return execute(cursor, statement, parameters, context)
            if checkout.is_inside:
                return execute(cursor, statement, parameters, context)
            started_at = checkout.call_began_at = now()
            # A transaction counts for itself. The checkout gets the sums when the connection is returned.
            part = checkout.transaction or begin(checkout, fairy, started_at)
            if is_server_side:
                context.cursor = TimedCursor(cursor, checkout)
            try:
                return execute(cursor, statement, parameters, context)
            except BaseException as error:
                checkout.error = part.error = error
                raise
            finally:
                part.busy += now() - started_at
                part.statements += 1
                checkout.call_began_at = 0

        return do_execute

    def _statement_without_parameters(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        def execute_all(cursor: Any, statement: str, _parameters: Any, context: Any) -> Any:
            return execute(cursor, statement, context)

        measured = self._statement(execute_all)

        def do_execute_no_params(cursor: Any, statement: str, context: Any = None) -> Any:
            return measured(cursor, statement, None, context)

        return do_execute_no_params

    def _begin(self, checkout: OpenCheckout, fairy: Any, started_at: int) -> Transaction | OpenCheckout:
        """Begin a transaction, as drivers do with the first statement; return the record to count in."""
        try:
            if self._dialect.detect_autocommit_setting(fairy.dbapi_connection):
                return checkout
        except NotImplementedError:
            pass
        return checkout.begin(started_at)

    def _end(self, end: Callable[[Any], None], outcome: TransactionOutcome) -> Callable[[Any], None]:
        open_checkouts, now = self._open, perf_counter_ns

        def do_end(connection: Any) -> None:
            try:
                checkout = open_checkouts[connection._connection_record]  # noqa: SLF001 - see do_execute
                transaction = checkout.transaction
            except NO_CHECKOUT:
                return end(connection)
            if transaction is None or checkout.is_inside:
                # The transaction has ended already: the pool resets the connection, or rolls back a second time.
                return end(connection)
            started_at = checkout.call_began_at = now()
            try:
                end(connection)
            except BaseException as error:
                checkout.call_ended(transaction, started_at)
                checkout.end(self._failed(outcome, connection, error), now(), error)
                raise
            checkout.call_ended(transaction, started_at)
            checkout.end(outcome, now())
            return None

        return do_end

    def _savepoint(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def do_savepoint(connection: Any, *args: Any, **kwargs: Any) -> Any:
            checkout = self._checkout_of(connection)
            if checkout is None:
                return call(connection, *args, **kwargs)
            if checkout.transaction is None:
                self._begin(checkout, connection._dbapi_connection, perf_counter_ns())  # noqa: SLF001 - see do_execute
            return checkout.within(lambda: call(connection, *args, **kwargs))

        return do_savepoint

    def _twophase_end(self, end: Callable[..., Any], outcome: TransactionOutcome) -> Callable[..., Any]:
        def do_end_twophase(connection: Any, *args: Any, **kwargs: Any) -> Any:
            checkout = self._checkout_of(connection)
            if checkout is None or checkout.transaction is None:
                return end(connection, *args, **kwargs)
            try:
                result = checkout.within(lambda: end(connection, *args, **kwargs))
            except BaseException as error:
                checkout.end(self._failed(outcome, connection, error), perf_counter_ns(), error)
                raise
            checkout.end(outcome, perf_counter_ns())
            return result

        return do_end_twophase

    def _checkout_of(self, connection: Any) -> OpenCheckout | None:
        try:
            checkout = self._open[connection._dbapi_connection._connection_record]  # noqa: SLF001 - see do_execute
        except NO_CHECKOUT:
            return None
        return None if checkout.is_inside else checkout

    def _failed(self, wanted: TransactionOutcome, connection: Any, error: BaseException) -> TransactionOutcome:
        """Return the outcome of a failed COMMIT or ROLLBACK; a COMMIT that the server refused is a rollback."""
        if wanted == "rollback":
            return "lost"
        try:
            is_answer = isinstance(error, self._dialect.loaded_dbapi.Error) and not self._dialect.is_disconnect(
                error, connection, None
            )
        except Exception:  # noqa: BLE001 - the driver's test may fail on a broken connection; the caller raises the error itself
            return "unknown"
        return "rollback" if is_answer else "unknown"


class TimedCursor:
    """A server-side cursor that counts its fetches as time in the driver, because no event reports them."""

    def __init__(self, cursor: Any, checkout: OpenCheckout) -> None:
        self._cursor = cursor
        self._checkout = checkout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def fetchone(self) -> Any:
        """Fetch a row."""
        return self._timed(self._cursor.fetchone)

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        """Fetch some rows."""
        return self._timed(self._cursor.fetchmany, *args, **kwargs)

    def fetchall(self) -> Any:
        """Fetch the remaining rows."""
        return self._timed(self._cursor.fetchall)

    def _timed(self, fetch: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        checkout = self._checkout
        transaction = checkout.transaction
        started_at = checkout.call_began_at = perf_counter_ns()
        try:
            return fetch(*args, **kwargs)
        except BaseException as error:
            checkout.error = error
            if transaction is not None:
                transaction.error = error
            raise
        finally:
            checkout.call_ended(transaction, started_at)
