"""The spans of a context: their places, times, attributes and events."""

from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode, use_span

from context_async_sqlalchemy.observer import HISTORY, CheckoutPath, TransactionOutcome
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver

from .records import Pool, checkout, context, early_release, tell, tell_all, transaction, unix
from .traces import Traces, attributes, events, is_child, times

DATABASE = {
    "db.client.connection.pool.name": "main",
    "db.system.name": "postgresql",
    "db.namespace": "shop",
    "server.address": "db.example",
    "server.port": 5432,
}


def test_a_session_is_below_the_request_and_its_transactions_are_below_it(
    traces: Traces, observer: OpenTelemetryObserver
) -> None:
    pool, record = Pool(), context(began=1.0, ended=2.5)
    with traces.tracer.start_as_current_span("GET /orders", kind=SpanKind.SERVER):
        tell_all(
            observer,
            record,
            checkout(record, pool, 1.0, 1.1, 2.1, transaction(1.2, 2.0, statements=3, busy=0.25), path="new"),
        )
    request, session = traces.one("GET /orders"), traces.one("db.session main")
    acquire, work = traces.one("db.connection.acquire main"), traces.one("db.transaction main")
    assert is_child(session, request)
    assert is_child(acquire, session)
    assert is_child(work, session)
    assert [session.kind, acquire.kind, work.kind] == [SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.INTERNAL]
    assert times(session) == (unix(1.0), unix(2.5))
    assert times(acquire) == (unix(1.0), unix(1.1))
    assert times(work) == (unix(1.2), unix(2.0))
    assert {span.status.status_code for span in (session, acquire, work)} == {StatusCode.UNSET}
    assert attributes(acquire) == {**DATABASE, "db.session.acquire_path": "new"}
    assert attributes(work) == {
        "db.client.connection.pool.name": "main",
        "db.transaction.outcome": "commit",
        "db.transaction.statements": 3,
        "db.transaction.busy_seconds": 0.25,
    }
    assert attributes(session) == {
        **DATABASE,
        "db.session.outcome": "commit",
        "db.session.transactions": 1,
        "db.session.statements": 3,
        "db.session.held_seconds": pytest.approx(1.0),
        "db.session.busy_seconds": 0.25,
        "db.session.idle_seconds": pytest.approx(0.75),
    }


@pytest.mark.parametrize(("path", "count"), [("idle", 0), ("new", 1), ("queued", 1)])
def test_a_checkout_that_cost_nothing_is_no_span(
    traces: Traces, observer: OpenTelemetryObserver, path: CheckoutPath, count: int
) -> None:
    record = context()
    tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 2.0, path=path))
    assert len(traces.all("db.connection.acquire main")) == count


@pytest.mark.parametrize(
    ("idle", "outcome", "changes", "count"),
    [
        (0.009, "commit", {}, 0),
        (0.011, "commit", {}, 1),
        (0.0, "rollback", {}, 1),
        (0.0, "unknown", {"error": TimeoutError()}, 1),
        (0.0, "commit", {"error": TimeoutError()}, 1),
        (0.0, "commit", {"path": "queued"}, 1),
        (0.0, "commit", {"is_early": True, "by": "commit"}, 1),
    ],
)
def test_a_transaction_is_no_span_where_it_would_repeat_the_whole_session(
    traces: Traces,
    observer: OpenTelemetryObserver,
    idle: float,
    outcome: TransactionOutcome,
    *,
    changes: dict[str, Any],
    count: int,
) -> None:
    record, work = context(), transaction(1.0, 1.5, outcome, busy=0.5 - idle)
    tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 1.5, work, **changes))
    assert attributes(traces.one("db.session main"))["db.session.transactions"] == 1
    assert len(traces.all("db.transaction main")) == count


def test_of_several_transactions_each_is_a_span(traces: Traces, observer: OpenTelemetryObserver) -> None:
    record = context()
    parts = [transaction(1.0, 1.25, busy=0.25), transaction(1.25, 1.5, busy=0.25)]
    tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 1.5, *parts))
    assert len(traces.all("db.transaction main")) == 2


def test_an_early_release_is_an_event_with_what_it_saved(traces: Traces, observer: OpenTelemetryObserver) -> None:
    pool, record = Pool(), context(ended=5.0)
    before_payment = checkout(record, pool, 1.0, 1.0, 1.5, by="commit", is_early=True)
    at_headers = checkout(record, pool, 4.0, 4.0, 4.25, by="headers", is_early=True)
    tell_all(
        observer,
        record,
        before_payment,
        early_release(before_payment, 4.0),
        at_headers,
        early_release(at_headers, 5.0),
    )
    session = traces.one("db.session main")
    assert events(session) == [
        (
            "released_early",
            unix(1.5),
            {
                "db.session.released_by": "commit",
                "db.session.held_seconds": 0.5,
                "db.session.saved_seconds": 2.5,
            },
        ),
        (
            "released_early",
            unix(4.25),
            {
                "db.session.released_by": "headers",
                "db.session.held_seconds": 0.25,
                "db.session.saved_seconds": 0.75,
            },
        ),
    ]


def test_each_pool_of_a_context_has_a_session_of_its_own(traces: Traces, observer: OpenTelemetryObserver) -> None:
    main, replica, record = Pool(), Pool("replica", "replica.example", None), context(began=1.0, ended=3.0)
    with traces.tracer.start_as_current_span("request"):
        tell_all(
            observer,
            record,
            checkout(record, replica, 1.5, 1.5, 2.0, transaction(1.5, 2.0, "rollback")),
            checkout(record, main, 1.0, 1.0, 3.0, transaction(1.0, 3.0)),
        )
    request = traces.one("request")
    for name, began in (("main", 1.0), ("replica", 1.5)):
        session = traces.one(f"db.session {name}")
        assert is_child(session, request)
        assert times(session) == (unix(began), unix(3.0))
        assert is_child(traces.one(f"db.transaction {name}"), session)
        assert attributes(session)["db.session.transactions"] == 1
    assert attributes(traces.one("db.session replica"))["server.address"] == "replica.example"
    assert "server.port" not in attributes(traces.one("db.session replica"))


def test_of_a_context_that_goes_on_and_on_everything_is_counted(
    traces: Traces, observer: OpenTelemetryObserver
) -> None:
    pool, record, many = Pool(), context(began=0.0, ended=HISTORY * 3.0), HISTORY * 2
    tell_all(
        observer,
        record,
        *(
            checkout(record, pool, at, at + 0.25, at + 1, transaction(at + 0.25, at + 1, busy=0.5))
            for at in range(many)
        ),
    )
    session = attributes(traces.one("db.session main"))
    assert len(traces.all("db.transaction main")) == HISTORY
    assert [session[f"db.session.{what}"] for what in ("transactions", "statements")] == [many] * 2
    assert session["db.session.held_seconds"] == pytest.approx(many * 0.75)
    assert session["db.session.idle_seconds"] == pytest.approx(many * 0.25)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (
            Pool(system="mssql"),
            {**DATABASE, "db.system.name": "microsoft.sql_server"},
        ),
        (
            Pool("memory", None, None, None, "sqlite"),
            {"db.client.connection.pool.name": "memory", "db.system.name": "sqlite"},
        ),
    ],
)
def test_only_what_is_known_of_a_database_is_said(
    traces: Traces, observer: OpenTelemetryObserver, pool: Pool, expected: dict[str, object]
) -> None:
    record = context()
    tell_all(observer, record, checkout(record, pool, 1.0, 1.0, 2.0))
    session = attributes(traces.one(f"db.session {pool.name}"))
    assert {name: value for name, value in session.items() if not name.startswith("db.session.")} == expected


def test_what_happens_outside_of_any_context_is_no_span(traces: Traces, observer: OpenTelemetryObserver) -> None:
    record = context()
    tell(observer, record, [checkout(None, Pool(), 1.0, 1.0, 2.0)])
    assert traces.names() == []


def test_contexts_within_one_another_are_told_apart(traces: Traces, observer: OpenTelemetryObserver) -> None:
    pool, outer, inner = Pool(), context(began=1.0, ended=4.0), context(began=2.0, ended=3.0, outcome="rollback")
    with traces.tracer.start_as_current_span("request"):
        observer.context_began(outer)
        tell_all(observer, inner, checkout(inner, pool, 2.0, 2.0, 3.0))
        tell(observer, outer, [checkout(outer, pool, 1.0, 1.0, 4.0)])
        observer.context_ended(outer)
    sessions = traces.all("db.session main")
    assert [times(session) for session in sessions] == [(unix(2.0), unix(3.0)), (unix(1.0), unix(4.0))]
    assert all(is_child(session, traces.one("request")) for session in sessions)


def test_the_request_is_above_the_session_although_a_span_within_it_has_begun_it(
    traces: Traces, observer: OpenTelemetryObserver
) -> None:
    record = context()
    with traces.tracer.start_as_current_span("request"):
        with traces.tracer.start_as_current_span("load the user"):
            observer.context_began(record)
        tell(observer, record, [checkout(record, Pool(), 1.0, 1.0, 2.0)])
        observer.context_ended(record)
    assert is_child(traces.one("db.session main"), traces.one("request"))


@pytest.mark.parametrize("current_at_the_end", ["none", "another request", "the ended request"])
def test_where_the_request_is_not_current_at_the_end_the_session_is_still_below_it(
    traces: Traces, observer: OpenTelemetryObserver, current_at_the_end: str
) -> None:
    record = context()
    with traces.tracer.start_as_current_span("request") as request:
        observer.context_began(record)
        tell(observer, record, [checkout(record, Pool(), 1.0, 1.0, 2.0)])
    if current_at_the_end == "none":
        observer.context_ended(record)
    else:
        other = traces.tracer.start_span("other") if current_at_the_end == "another request" else request
        with use_span(other):
            observer.context_ended(record)
    assert is_child(traces.one("db.session main"), traces.one("request"))
