"""The exceptions of this library. Their messages name the cause and the remedy."""

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_Reduced = tuple[type[Any], tuple[Any, ...], dict[str, Any]]


class ContextNotInitiatedError(Exception):
    """Raised by ``db_session`` and its family where no context is open."""

    def __init__(
        self,
        message: str = (
            "no database context is open here. In a request: call setup_db(app, connections) before the "
            "application starts. In a job, a script or a websocket loop: open one with 'async with db_context():' "
            "or run the function through run_in_new_ctx(function, ...)"
        ),
    ) -> None:
        super().__init__(message)


class ContextAlreadyInitiatedError(Exception):
    """Raised by ``init_db_session_ctx`` where a context is open already."""

    def __init__(
        self,
        message: str = (
            "a database context is open here already: use it as it is, or open a nested one with its own "
            "sessions by init_db_session_ctx(force=True) or 'async with db_context():'"
        ),
    ) -> None:
        super().__init__(message)


class ContextClosedError(Exception):
    """Raised by ``db_session``, or by a session obtained earlier, once the context has ended."""

    def __init__(
        self,
        message: str = (
            "the database context of this request has ended, and its sessions with it; this code outlived it "
            "(a background task, a body generator). Give it a context of its own: "
            "asyncio.create_task(run_in_new_ctx(function, ...)), or 'async with db_context():' inside the task"
        ),
    ) -> None:
        super().__init__(message)


class CommitTimeoutError(TimeoutError):
    """Raised when a commit did not end within ``finish_timeout``. The outcome on the server is unknown.

    The database connection has been invalidated, so that no other session gets it.

    Attributes:
        connection: the name of the connection.
        seconds: the time limit of the commit.

    """

    def __init__(self, connection: str, seconds: float) -> None:
        self.connection = connection
        self.seconds = seconds
        super().__init__(
            f"the commit on connection {connection!r} did not finish within {seconds:g} s; its connection is "
            "invalidated and the outcome on the server is unknown. Look for a lock, a slow disk or a lost "
            "network path; setup_db(finish_timeout=...) allows more time"
        )

    def __reduce__(self) -> _Reduced:
        """Return the arguments of the constructor, because pickle and copy would call the class with the message."""
        return type(self), (self.connection, self.seconds), vars(self)


class FailedTransactionError(Exception):
    """Raised by a commit whose transaction had failed before: PostgreSQL answers such a COMMIT by a ROLLBACK.

    A statement had raised, and the code went on without a rollback. Nothing of the transaction has been written.

    Attributes:
        error_name: name of the driver's exception by which the transaction failed.

    """

    def __init__(self, error_name: str) -> None:
        self.error_name = error_name
        super().__init__(
            f"the transaction had failed before its COMMIT: a statement raised {error_name}, and the code went on. "
            "PostgreSQL rolls such a transaction back, so nothing of it was written. Let the exception out, or run a "
            "statement that may fail in a SAVEPOINT: async with session.begin_nested(): ..."
        )

    def __reduce__(self) -> _Reduced:
        """Return the arguments of the constructor, because pickle and copy would call the class with the message."""
        return type(self), (self.error_name,), vars(self)


class StartCheckError(Exception):
    """Raised when an application starts with ``check_at_start`` and one of its connections cannot be opened.

    The cause (``__cause__``) is the first exception.

    Attributes:
        problems: a sentence for each connection that cannot be opened. None has a password.

    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the application does not start, because check_at_start found: " + "; ".join(problems))

    def __reduce__(self) -> _Reduced:
        """Return the arguments of the constructor, because pickle and copy would call the class with the message."""
        return type(self), (self.problems,), vars(self)


class PartialCommitError(Exception):
    """Raised when a context with several connections had committed some of them, and then a commit failed.

    There is no atomic commit over several databases, so the committed transactions stay. The cause (``__cause__``) is
    the exception of the failed commit.

    Attributes:
        committed: the names of the connections whose transactions are committed, in order.
        failed: the name of the connection whose commit failed.
        rolled_back: the names of the connections that were rolled back because of the failure.

    """

    def __init__(self, committed: Sequence[str], failed: str, rolled_back: Sequence[str]) -> None:
        self.committed = tuple(committed)
        self.failed = failed
        self.rolled_back = tuple(rolled_back)
        super().__init__(
            f"the commit on {failed!r} failed after {', '.join(map(repr, committed))} had been committed "
            f"(rolled back: {', '.join(map(repr, rolled_back)) or 'nothing else'}). The committed part stays: "
            "repair it by hand or make the work idempotent and run it again"
        )

    def __reduce__(self) -> _Reduced:
        """Return the arguments of the constructor, because pickle and copy would call the class with the message."""
        return type(self), (self.committed, self.failed, self.rolled_back), vars(self)


class PoolOverloadedError(PoolTimeoutError):
    """Raised by the statement that needs a connection, if the wait for one is longer than the ``DBConnect`` allows.

    Nothing was sent to the database. The session stays usable. The class derives from the exception that SQLAlchemy
    raises after ``pool_timeout``, so code that handles that exception handles this one too. If the pool is observed,
    a note of the exception names the holders of the connections.

    Attributes:
        pool: the name of the pool.
        limit: the option that ended the wait, for example ``max_wait=0.5``.
        size: how many connections the pool has, which are as many as it may have.
        in_use: how many of its connections are in use.
        waiting: how many other checkouts wait for a connection.
        waited: seconds that this checkout has waited; 0.0 if the queue was full.

    """

    def __init__(self, pool: str, limit: str, size: int, in_use: int, waiting: int, waited: float) -> None:  # noqa: PLR0917 - a record
        self.pool = pool
        self.limit = limit
        self.size = size
        self.in_use = in_use
        self.waiting = waiting
        self.waited = waited
        super().__init__(
            f"pool {pool!r} is overloaded: no connection after {waited:.2f} s ({limit}); {in_use} of {size} "
            f"connections in use, {waiting} other checkouts waiting. Answer 'try again later', as setup_db does by a "
            "503; give connections back before slow work, allow more of them, or add servers"
        )

    @property
    def retry_after(self) -> int:
        """Whole seconds after which the client may try again: at least 1, and at least as many as were waited."""
        return max(1, math.ceil(self.waited))

    def __reduce__(self) -> _Reduced:
        """Return the arguments of the constructor, because pickle and copy would call the class with the message."""
        return type(self), (self.pool, self.limit, self.size, self.in_use, self.waiting, self.waited), vars(self)
