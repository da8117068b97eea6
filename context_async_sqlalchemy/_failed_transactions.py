"""Refuses the COMMIT of a transaction in which a statement has failed.

PostgreSQL takes no further statement in such a transaction and answers its COMMIT by a ROLLBACK. The drivers report
that as a success. Code that swallows a statement's error would lose its writes in silence.

Nothing is listened for but a failed statement, so that a transaction without an error costs nothing.
"""

from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect, Engine, ExceptionContext
from sqlalchemy.exc import DBAPIError

from .exceptions import FailedTransactionError

_DIALECTS = {"postgresql", "cockroachdb"}
_IN_FAILED_TRANSACTION = "25P02"
_FAILED_BY = "context_async_sqlalchemy.failed_by"

# Not event.contains(), which knows an object by its id() and takes a new object for one that is gone.
_listened_to: WeakSet[Dialect] = WeakSet()
suspects: WeakSet[Connection] = WeakSet()
"""Connections with a transaction that may have failed: a statement has, and a SAVEPOINT may have been rolled back."""


def refuse_failed_commits(engine: Engine) -> None:
    """Make every COMMIT of an engine fail whose transaction has failed. A second call changes nothing.

    Args:
        engine: an engine. Those of other databases than PostgreSQL and its like are left as they are.

    """
    dialect = engine.dialect
    if dialect.name in _DIALECTS and dialect not in _listened_to:
        _listened_to.add(dialect)
        event.listen(engine, "handle_error", _note_failure)


def require_sound(connection: Connection) -> None:
    """Ask the server whether the transaction of a suspect has failed.

    Raises:
        FailedTransactionError: it has.
        sqlalchemy.exc.DBAPIError: the server could not be asked.

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
    # The name alone: the exception would keep its frames, and a message may contain values.
    connection.info[_FAILED_BY] = type(error.__cause__ or error).__name__
    if connection not in suspects:
        suspects.add(connection)
        # On this Connection alone, which lasts as long as its transaction: on an engine, a listener would cost every
        # transaction. It sees the commits that the application makes itself, too.
        event.listen(connection, "commit", _require_sound_if_suspected)


def _require_sound_if_suspected(connection: Connection) -> None:
    if connection in suspects:
        require_sound(connection)
