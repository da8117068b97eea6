"""Runs a function again when the database has refused its transaction: serialization failures and deadlocks."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError, InvalidRequestError

from ._context.checks import check_count, check_delay, require_awaitable
from ._context.context import Context
from ._context.context_session import sync_session_of
from ._context.current import current_context
from ._redaction import kind_of
from .auto_commit import commit_all_sessions, rollback_all_sessions
from .exceptions import ContextClosedError

P = ParamSpec("P")
T = TypeVar("T")

RETRYABLE_SQLSTATES = frozenset({"40001", "40P01"})
"""``serialization_failure`` and ``deadlock_detected`` (PostgreSQL, appendix A).

The server has rolled the transaction back, and the same transaction may succeed next time. CockroachDB and YugabyteDB
use these codes too.
"""

_STATUSES = range(100, 600)

_OF = "the function of @retried"


@dataclass(frozen=True, slots=True)
class Retry:
    """The number of attempts, and the delays between them.

    The delay before attempt n + 1 is random, between 0 and ``base_delay * 2 ** (n - 1)`` and at most ``max_delay``
    (full jitter, so that conflicting transactions do not collide again).

    Args:
        attempts: the most runs of the function, the first one included.
        base_delay: seconds.
        max_delay: seconds.

    Raises:
        TypeError: ``attempts`` is not a whole number, or a delay is not a number.
        ValueError: ``attempts`` is less than 1, or a delay is negative.

    """

    attempts: int = 3
    base_delay: float = 0.02
    max_delay: float = 1.0

    def __post_init__(self) -> None:
        check_count("Retry(attempts=...)", self.attempts)
        check_delay("Retry(base_delay=...)", self.base_delay)
        check_delay("Retry(max_delay=...)", self.max_delay)

    def delay(self, attempt: int) -> float:
        """Return the random delay in seconds after a failed attempt. The first attempt is number 1."""
        # The exponent is limited because 2.0 ** 1024 would overflow.
        longest = min(self.max_delay, self.base_delay * 2.0 ** min(attempt - 1, 60))
        return random.uniform(0, longest)  # noqa: S311 - no secret


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of a database error, or None for any other error.

    The attribute of the driver's error is ``sqlstate`` (asyncpg, psycopg) or ``pgcode`` (psycopg2 and drivers like it).
    SQLAlchemy's adapter for asyncpg raises a separate error ``from`` the driver's error.
    """
    cause: BaseException | None = error.orig if isinstance(error, DBAPIError) else None
    while cause is not None:
        for name in ("sqlstate", "pgcode"):
            sqlstate: object = getattr(cause, name, None)
            if isinstance(sqlstate, str) and sqlstate:
                return sqlstate
        cause = cause.__cause__
    return None


def is_retryable(error: BaseException) -> bool:
    """Return whether an error is a serialization failure or a deadlock, so that a retry may succeed.

    Args:
        error: the exception that a statement or a commit raised. An exception that the application raised in its place
            is not retryable: it is the response.

    """
    return sqlstate_of(error) in RETRYABLE_SQLSTATES


def retried(retry: Retry) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Make a function run again when its transaction fails by a serialization failure or a deadlock.

    The function is a separate unit of work in the current context. It must find no open transaction. Its work is
    committed when it returns, because a serialization failure may show as late as the COMMIT. Nothing is committed if
    the function returns a response whose status does not commit, or after ``set_rollback()``.

    If the function raises any error or is cancelled, the context's sessions are rolled back. They hold no connection
    between two attempts, nor when a caller handles the error and goes on. A raised response whose status commits is
    the exception: the end of the request commits it.

    A function that is called by another retried function, or in ``run_in_new_ctx(retry=...)``, is a part of that unit
    of work. It neither commits nor rolls back.

    The function is not run again if a part of the context has been committed or if the response has begun. A note on
    the error says so.

    Args:
        retry: the number of attempts and the delays.

    Raises:
        TypeError: ``retry`` is not a Retry, for example because ``@retried`` has no parentheses.
        sqlalchemy.exc.InvalidRequestError: a transaction is open at the call. The first failed attempt would roll back
            its work, and no later attempt would repeat that work.
        ContextNotInitiatedError: no context is open.
        ContextClosedError: the context has ended.

    Example::

        @retried(Retry(attempts=5))
        async def transfer(source: int, target: int, amount: int) -> None:
            session = await db_session(connection)
            ...

    """
    _require_retry(retry)

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        _require_function(function)

        @wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T:
            context = current_context()
            context.require_open()
            if context.is_retried:
                return await require_awaitable(function(*args, **kwargs), _OF)
            _require_no_transaction(context, getattr(function, "__qualname__", repr(function)))
            rollback_only = context.rollback_only
            context.count_own_commits()
            attempt = 1
            try:
                while True:
                    try:
                        return await _run_unit(context, function, *args, **kwargs)
                    except Exception as error:
                        if not may_run_again(context, retry, attempt, error):
                            raise
                    await pause(retry.delay(attempt))
                    attempt += 1
                    # A set_rollback() of the failed attempt does not apply to the next attempt.
                    context.rollback_only = rollback_only
            finally:
                context.is_retried = False

        return run

    return decorate


def _require_retry(given: object) -> None:
    if not isinstance(given, Retry):
        raise TypeError(f"retried takes a Retry: write @retried(Retry()) above the function, got {kind_of(given)}")


def _require_function(given: object) -> None:
    if not callable(given):
        raise TypeError(f"@retried(...) stands above an async function: got {kind_of(given)}")


def may_run_again(context: Context, retry: Retry, attempt: int, error: Exception) -> bool:
    """Return whether a function may be run again after an error.

    If so, the observers are called. If the error is retryable and the answer is no, a note on the error says why.

    Args:
        context: the context of the attempt, which has been rolled back.
        retry: the number of attempts.
        attempt: the number of the failed attempt, from 1.
        error: the exception that the attempt raised.

    """
    sqlstate = sqlstate_of(error)
    if sqlstate is None or sqlstate not in RETRYABLE_SQLSTATES:
        return False
    if context.has_committed:
        error.add_note(
            "not run again: a part of its context is committed already, or may be (commit_db_session, "
            "atomic_db_session, a session's own commit(), a context within it, the headers of a stream), and would be "
            "done twice. Let what is to be retried come before, or give it a context of its own: "
            "run_in_new_ctx(function, ..., retry=Retry())"
        )
        return False
    if context.response_has_begun:
        error.add_note(
            "not run again: the response has begun, and what was sent would be sent twice. Let what is to be retried "
            "come before, or give it a context of its own: run_in_new_ctx(function, ..., retry=Retry())"
        )
        return False
    if attempt >= retry.attempts:
        error.add_note(f"not run again: this was attempt {attempt} of {retry.attempts}")
        return False
    if context.record is not None:
        context.record.attempt_failed(sqlstate, attempt, error)
    return True


async def pause(seconds: float) -> None:
    """Wait between two attempts."""
    await asyncio.sleep(seconds)


async def _run_unit(context: Context, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function once and commit its work. If the function or the commit fails, roll the work back."""
    try:
        result = await require_awaitable(function(*args, **kwargs), _OF)
        if _commits(context, result):
            await commit_all_sessions()
    except GeneratorExit:
        # A coroutine that is being closed cannot await a rollback.
        raise
    except BaseException as error:
        # The end of the request commits a raised response by its status (aiohttp's ``raise web.HTTPFound``). After any
        # other error half of the work must not stay: the caller may handle the error, and the request then commits.
        if not _is_response_that_commits(context, error):
            await _roll_back(context)
        raise
    return result


async def _roll_back(context: Context) -> None:
    try:
        context.require_open()
    except ContextClosedError:
        # The function has outlived its context. A rollback here could interrupt the COMMIT of the task that ends it.
        return
    await rollback_all_sessions()


def _require_no_transaction(context: Context, name: str) -> None:
    # Mocks are left out, because a mock always says that it is in a transaction.
    used = [connect for connect, session in context.transactions() if sync_session_of(session) is not None]
    if used:
        raise InvalidRequestError(
            f"{name} is retried, and a transaction is open already on {', '.join(repr(each.name) for each in used)}: "
            "its work would be rolled back with the first attempt, and not be done again. End it before "
            "(close_db_session after reading; commit_db_session, which forgoes the retry), let the retried function "
            "do that work too, or give the function a context of its own: run_in_new_ctx(function, ..., retry=Retry())"
        )


def _commits(context: Context, result: object) -> bool:
    """Return whether a function's result lets its work be committed; the response of a handler may be an error."""
    status = _status_of(result)
    return status is None or context.rules.commit_on(status)


def _is_response_that_commits(context: Context, error: BaseException) -> bool:
    # Some frameworks raise the response itself or its status, others an exception that has the response (Quart).
    status = _status_of(error) or _status_of(getattr(error, "response", None))
    return status is not None and context.rules.commit_on(status)


def _status_of(result: object) -> int | None:
    """Return the HTTP status of a response, or None for any other object."""
    for name in ("status", "status_code"):
        status: object = getattr(result, name, None)
        if isinstance(status, int) and status in _STATUSES:
            return status
    return None
