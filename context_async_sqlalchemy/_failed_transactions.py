"""Refuses the COMMIT of a transaction in which a statement has failed.

PostgreSQL takes no further statement in such a transaction and answers its COMMIT by a ROLLBACK. The drivers report
that as a success. Code that swallows a statement's error would lose its writes in silence.

A failed statement is the only thing that is listened for, so that a transaction without an error costs nothing.
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext

from .exceptions import FailedTransactionError

_DIALECTS = {"postgresql", "cockroachdb"}
_IN_FAILED_TRANSACTION = "25P02"
_FAILED_BY = "context_async_sqlalchemy.failed_by"


def refuse_failed_commits(engine: Engine) -> None:
    """Make every COMMIT of an engine fail whose transaction has failed. A second call changes nothing.

    Args:
        engine: an engine. Those of other databases than PostgreSQL and its like are left as they are.

    """
    if engine.dialect.name in _DIALECTS and not event.contains(engine, "handle_error", _note_failure):
        event.listen(engine, "handle_error", _note_failure)


def _note_failure(failure: ExceptionContext) -> None:
    connection, error = failure.connection, failure.original_exception
    if connection is None or failure.is_disconnect or getattr(error, "sqlstate", None) == _IN_FAILED_TRANSACTION:
        return
    # The name alone: the exception would keep its frames, and a message may contain values.
    connection.info[_FAILED_BY] = type(error.__cause__ or error).__name__
    # On this Connection alone, which lasts as long as its transaction: on an engine, a listener would cost every
    # transaction.
    if not event.contains(connection, "commit", _refuse_if_failed):
        event.listen(connection, "commit", _refuse_if_failed)


def _refuse_if_failed(connection: Connection) -> None:
    """Ask the server whether the transaction has failed; it has not if a SAVEPOINT was rolled back since."""
    pooled: Any = connection.connection
    cursor = pooled.cursor()
    try:
        # Not through the Connection, because this is no statement of the application's.
        cursor.execute("SELECT 1")
    except connection.dialect.loaded_dbapi.Error as error:
        if getattr(error, "sqlstate", None) != _IN_FAILED_TRANSACTION:
            raise
        raise FailedTransactionError(connection.info.get(_FAILED_BY, "an error")) from None
    finally:
        cursor.close()
