"""All of /metrics after a run in which everything happens once: names, help, labels, buckets, exemplars."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags, use_span

from context_async_sqlalchemy.observer import (
    NO_ROUTE,
    UNMATCHED_ROUTE,
    EarlyRelease,
    FailedAttempt,
    NestedCheckout,
    PoolPeaks,
    PoolReading,
    SuspectedLeak,
)
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.adapters.prometheus.records import FakePool, checkout, context_of, failed, transaction

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
GOLDEN = {"golden.txt": "", "golden.openmetrics.txt": OPEN_METRICS}


@pytest.fixture(autouse=True)
def _at_a_fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prometheus_client.metrics.time.time", lambda: 1_700_000_000.0)


@pytest.mark.parametrize("name", GOLDEN)
def test_everything_that_happens_is_measured(observer: PrometheusObserver, name: str) -> None:
    _run(observer)
    _, body = observer.expose(GOLDEN[name], "")
    path = Path(__file__).with_name(name)
    assert body.decode() == path.read_text(), f"if this change is wanted, delete {path.name} and write it anew"


def _run(observer: PrometheusObserver) -> None:
    main, unbounded = FakePool("main", "db.example"), FakePool("reports")
    for pool in (main, unbounded):
        observer.pool_observed(pool)
    observer.connected(main, 0.004)
    with _sampled_span():
        _order_that_releases_early(observer, main)
    _order_that_waits_in_vain(observer, main)
    job = checkout(unbounded, None, transaction(400_000, "lost"), wait=0, hold=400_000, busy=1)
    observer.checkout_ended(job)
    observer.connection_invalidated(unbounded)
    observer.leak_suspected(SuspectedLeak(job, 60.0, "report.py:12"))
    main.reading = PoolReading(used=3, idle=1, pending=2, maximum=10, idle_maximum=5)
    main.highest = PoolPeaks(used=9, pending=4)
    unbounded.reading = PoolReading(used=1, idle=0, pending=0, maximum=None, idle_maximum=None)
    assert job.route == NO_ROUTE


def _order_that_releases_early(observer: PrometheusObserver, pool: FakePool) -> None:
    context = context_of("POST /orders/{id}")
    first = checkout(pool, context, transaction(50), early_by="commit")
    observer.checkout_ended(first)
    observer.early_release_ended(EarlyRelease(first, first.released_at + 3_000_000_000))
    observer.checkout_ended(checkout(pool, context, transaction(5), transaction(7, "rollback"), wait=700, hold=12))
    observer.retried(FailedAttempt(pool, context, "40001", 1, TimeoutError()))
    observer.context_ended(context)


def _order_that_waits_in_vain(observer: PrometheusObserver, pool: FakePool) -> None:
    context = context_of(UNMATCHED_ROUTE, "rollback")
    observer.nested_checkout(NestedCheckout(pool, context))
    observer.checkout_failed(failed(pool, context, "timeout", 30_000))
    observer.checkout_failed(failed(pool, context, "shed", 500))
    observer.checkout_failed(failed(pool, context, "cancelled", 40))
    observer.checkout_failed(failed(pool, context, "error", 3))
    observer.context_ended(context)


def _sampled_span() -> AbstractContextManager[Span]:
    ids = SpanContext(trace_id=0xABCDEF, span_id=0x1234, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return use_span(NonRecordingSpan(ids))
