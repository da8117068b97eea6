"""Refuses the COMMIT of a transaction in which a statement has failed.

PostgreSQL answers the COMMIT of such a transaction by a ROLLBACK, and the drivers report a success. Code that swallows
the error of a statement would lose its writes in silence. A transaction without an error costs nothing here, because
the only listener waits for failed statements. See docs/decisions/0010.
"""

from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect, Engine, ExceptionContext
from sqlalchemy.exc import DBAPIError

from .exceptions import FailedTransactionError

_DIALECTS = {"postgresql", "cockroachdb"}
_IN_FAILED_TRANSACTION = "25P02"
_FAILED_BY = "context_async_sqlalchemy.failed_by"

# Used instead of event.contains(), which identifies an object by its id(). A new object may have the id of an old one.
_listened_to: WeakSet[Dialect] = WeakSet()
suspects: WeakSet[Connection] = WeakSet()
"""The connections on which a statement has failed. The rollback of a SAVEPOINT may have healed their transactions."""


def refuse_failed_commits(engine: Engine) -> None:
    """Make an engine refuse to COMMIT failed transactions. A second call changes nothing.

    Args:
        engine: the engine. It stays unchanged unless its dialect is PostgreSQL or CockroachDB.

    """
    dialect = engine.dialect
    if dialect.name in _DIALECTS and dialect not in _listened_to:
        _listened_to.add(dialect)
        event.listen(engine, "handle_error", _note_failure)


def require_sound(connection: Connection) -> None:
    """Ask the server whether the transaction of a suspect has failed, and raise if it has.

    Args:
        connection: one of the ``suspects``. If its transaction has not failed, it is no longer a suspect.

    Raises:
        FailedTransactionError: the transaction has failed.
        sqlalchemy.exc.DBAPIError: the server did not answer the question.

    """
    try:
        connection.exec_driver_sql("SELECT 1")
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _IN_FAILED_TRANSACTION:
            raise
        raise FailedTransactionError(connection.info.get(_FAILED_BY, "an error")) from None
    suspects.discard(connection)


def _note_failure(failure: ExceptionContext) -> None:
    connection, error = failure.connection, failure.original_exception
    if connection is None or failure.is_disconnect or getattr(error, "sqlstate", None) == _IN_FAILED_TRANSACTION:
        return
    # Only the name is kept, because the exception would keep its frames, and its message may contain values.
    connection.info[_FAILED_BY] = type(error.__cause__ or error).__name__
    if connection not in suspects:
        suspects.add(connection)
        # The Connection gets the listener, and not the engine, because a listener of the engine slows every transaction
        # (see docs/decisions/0001). The listener is called for the application's own commits too.
        event.listen(connection, "commit", _require_sound_if_suspected)


def _require_sound_if_suspected(connection: Connection) -> None:
    if connection in suspects:
        require_sound(connection)
