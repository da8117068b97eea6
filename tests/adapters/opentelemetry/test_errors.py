"""Errors on spans: where they happened, once, by their type; and no SQL text or value in any of it."""

import asyncio
import sqlite3

import pytest
from opentelemetry.trace import StatusCode
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from context_async_sqlalchemy import CommitTimeoutError, PartialCommitError
from context_async_sqlalchemy.observer import WaitFailure
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver

from .records import Pool, checkout, context, failed, tell_all, transaction, unix
from .traces import Traces, attributes, events, times


class DriverError(Exception):
    """A driver's error that has an SQLSTATE."""

    sqlstate = "23505"


DRIVER_ERROR = "tests.adapters.opentelemetry.test_errors.DriverError"


def _wrapped(error: Exception) -> DBAPIError:
    """Wrap a driver's error as SQLAlchemy does."""
    wrapped = IntegrityError("INSERT INTO secrets VALUES ($1)", ("hidden",), error)
    wrapped.__cause__ = error
    return wrapped


def test_a_failed_commit_is_an_error_of_both_and_recorded_on_the_transaction(
    traces: Traces, observer: OpenTelemetryObserver
) -> None:
    error, record = DriverError("DETAIL: (hidden) exists"), context(ended=2.5, outcome="failed")
    record.error = _wrapped(error)
    tell_all(
        observer,
        record,
        checkout(
            record, Pool(), 1.0, 1.0, 2.0, transaction(1.0, 2.0, "unknown", error=error), error=error, by="invalidation"
        ),
    )
    session, work = traces.one("db.session main"), traces.one("db.transaction main")
    for span in (session, work):
        assert span.status.status_code is StatusCode.ERROR
        assert attributes(span)["error.type"] == "23505"
    assert attributes(session)["db.session.outcome"] == "failed"
    assert attributes(work)["db.transaction.outcome"] == "unknown"
    assert events(work) == [("exception", unix(2.0), {"exception.type": DRIVER_ERROR})]
    assert events(session) == []


def test_an_error_that_a_savepoint_has_undone_is_recorded_but_the_transaction_is_fine(
    traces: Traces, observer: OpenTelemetryObserver
) -> None:
    error, record = DriverError(), context()
    tell_all(
        observer,
        record,
        checkout(record, Pool(), 1.0, 1.0, 2.0, transaction(1.0, 2.0, "commit", error=error), error=error),
    )
    work = traces.one("db.transaction main")
    assert work.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes(work)
    assert [event[0] for event in events(work)] == ["exception"]
    assert traces.one("db.session main").status.status_code is StatusCode.UNSET


def test_an_error_outside_of_any_transaction_is_recorded_on_the_session(
    traces: Traces, observer: OpenTelemetryObserver
) -> None:
    record = context(outcome="unused")
    tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 2.0, error=DriverError()))
    assert events(traces.one("db.session main")) == [("exception", unix(2.0), {"exception.type": DRIVER_ERROR})]


@pytest.mark.parametrize(
    ("failure", "error", "error_type", "message"),
    [
        ("timeout", PoolTimeoutError("QueuePool limit reached"), "timeout", "QueuePool limit reached"),
        ("shed", PoolTimeoutError("overloaded"), "shed", "overloaded"),
        ("cancelled", asyncio.CancelledError(), "cancelled", None),
        ("error", ConnectionRefusedError(111, "refused"), "ConnectionRefusedError", "[Errno 111] refused"),
        ("error", DriverError("hidden"), "23505", None),
    ],
)
def test_a_wait_in_vain_is_a_failed_acquire(
    traces: Traces,
    observer: OpenTelemetryObserver,
    *,
    failure: WaitFailure,
    error: BaseException,
    error_type: str,
    message: str | None,
) -> None:
    record = context(began=1.0, ended=4.0, outcome="rollback")
    tell_all(observer, record, failed(record, Pool(), 1.0, 3.0, failure, error=error))
    acquire, session = traces.one("db.connection.acquire main"), traces.one("db.session main")
    assert (acquire.status.status_code, acquire.status.description) == (StatusCode.ERROR, message)
    assert attributes(acquire)["error.type"] == error_type
    assert "db.session.acquire_path" not in attributes(acquire)
    ((name, at, said),) = events(acquire)
    assert (name, at, said.get("exception.message")) == ("exception", unix(3.0), message)
    assert session.status.status_code is StatusCode.UNSET
    assert times(session) == (unix(1.0), unix(4.0))
    assert attributes(session)["db.session.held_seconds"] == 0


def test_a_wait_in_vain_is_told_although_the_next_one_went_well(
    traces: Traces, observer: OpenTelemetryObserver
) -> None:
    record, pool = context(began=1.0, ended=4.0), Pool()
    in_vain = failed(record, pool, 1.0, 2.0, "timeout", error=PoolTimeoutError("full"))
    tell_all(observer, record, in_vain, checkout(record, pool, 2.0, 2.0, 3.0, transaction(2.0, 3.0, busy=1.0)))
    assert attributes(traces.one("db.connection.acquire main"))["error.type"] == "timeout"


def test_an_error_after_the_commit_is_told_although_all_else_went_well(
    traces: Traces, observer: OpenTelemetryObserver
) -> None:
    record = context(ended=2.0, outcome="failed")
    record.error = ValueError("of an after_commit hook")
    tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 2.0, transaction(1.0, 2.0, busy=1.0)))
    session = traces.one("db.session main")
    assert session.status.status_code is StatusCode.ERROR
    assert attributes(session)["error.type"] == "ValueError"


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        (sqlite3.IntegrityError("hidden"), "sqlite3.IntegrityError"),
        (_wrapped(sqlite3.IntegrityError("hidden")), "sqlite3.IntegrityError"),
        (_wrapped(DriverError("hidden")), "23505"),
        (ValueError("hidden"), "ValueError"),
    ],
)
def test_an_error_without_an_sqlstate_is_called_by_its_class(
    traces: Traces, observer: OpenTelemetryObserver, error: Exception, error_type: str
) -> None:
    record = context(outcome="failed")
    record.error = error
    tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 2.0))
    session = traces.one("db.session main")
    assert attributes(session)["error.type"] == error_type
    assert [name for name, _, _ in events(session)] == ["exception"]
    assert session.status.description is None


def test_a_commit_that_took_too_long_says_so(traces: Traces, observer: OpenTelemetryObserver) -> None:
    interruption, record = asyncio.CancelledError(), context(outcome="failed")
    record.error = CommitTimeoutError("main", 10)
    record.error.__cause__ = interruption
    tell_all(
        observer,
        record,
        checkout(record, Pool(), 1.0, 1.0, 2.0, transaction(1.0, 2.0, "unknown", error=interruption)),
    )
    session = traces.one("db.session main")
    assert attributes(session)["error.type"] == "context_async_sqlalchemy.exceptions.CommitTimeoutError"
    assert session.status.description is not None
    assert "did not finish within 10 s" in session.status.description


def test_what_was_committed_before_another_commit_failed_is_no_error(
    traces: Traces, observer: OpenTelemetryObserver
) -> None:
    error, record = DriverError(), context(outcome="failed")
    record.error = PartialCommitError(["main"], "audit", ["log"])
    record.error.__cause__ = error
    tell_all(
        observer,
        record,
        checkout(record, Pool("main"), 1.0, 1.0, 2.0, transaction(1.0, 2.0)),
        checkout(record, Pool("audit"), 1.0, 1.0, 2.0, transaction(1.0, 2.0, "unknown", error=error)),
        checkout(record, Pool("log"), 1.0, 1.0, 2.0, transaction(1.0, 2.0, "rollback")),
    )
    outcomes = {name: attributes(traces.one(f"db.session {name}")) for name in ("main", "audit", "log")}
    assert [outcome["db.session.outcome"] for outcome in outcomes.values()] == ["commit", "failed", "failed"]
    assert ["error.type" in outcome for outcome in outcomes.values()] == [False, True, True]


def test_nothing_of_sql_or_its_values_is_in_a_span(traces: Traces, observer: OpenTelemetryObserver) -> None:
    error, record = DriverError("INSERT INTO secrets: (hidden) exists"), context(outcome="failed")
    record.error = _wrapped(error)
    work = transaction(1.0, 2.0, "unknown", error=error)
    tell_all(
        observer,
        record,
        failed(record, Pool(), 1.0, 1.0, "error", error=_wrapped(DriverError("secrets hidden"))),
        checkout(record, Pool(), 1.0, 1.0, 2.0, work, error=_wrapped(DriverError("secrets hidden"))),
    )
    everything = "".join(span.to_json() for name in set(traces.names()) for span in traces.all(name))
    assert "db.transaction main" in everything
    assert "secrets" not in everything
    assert "hidden" not in everything
