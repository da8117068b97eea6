"""The measurements through a MeterProvider."""

import asyncio
from collections.abc import Generator, Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    NumberDataPoint,
    Sum,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from context_async_sqlalchemy.observer import FailedAttempt, NestedCheckout, PoolPeaks, PoolReading, SuspectedLeak
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver

from .records import Pool, checkout, context, early_release, failed, tell_all, transaction

WAITED = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30]
USED = [*WAITED, 60, 300]

Labels = frozenset[tuple[str, object]]


class Metrics:
    """A meter provider whose metrics the test looks into."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def collect(self) -> dict[str, Metric]:
        """Return the metrics that have a value, by their names."""
        return {metric.name: metric for metric in self._metrics()}

    def numbers(self, name: str) -> dict[Labels, int | float]:
        """Return the values of a counter, by their attributes."""
        metric = self.collect().get(name)
        if metric is None:
            return {}
        points = [point for point in metric.data.data_points if isinstance(point, NumberDataPoint)]
        return {frozenset((point.attributes or {}).items()): point.value for point in points}

    def histogram(self, name: str) -> dict[Labels, HistogramDataPoint]:
        """Return the distributions of a histogram, by their attributes."""
        points = self.collect()[name].data.data_points
        return {
            frozenset((point.attributes or {}).items()): point
            for point in points
            if isinstance(point, HistogramDataPoint)
        }

    def _metrics(self) -> Iterator[Metric]:
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                yield from scope.metrics


@pytest.fixture
def metrics() -> Generator[Metrics]:
    """Give the test metrics to look into."""
    metrics = Metrics()
    yield metrics
    metrics.provider.shutdown()


@pytest.fixture
def observer(metrics: Metrics) -> OpenTelemetryObserver:
    """Give the test an observer that measures there."""
    return OpenTelemetryObserver(meter_provider=metrics.provider)


def _labels(pool: str = "main", **others: str) -> Labels:
    return frozenset({"db.client.connection.pool.name": pool, **others}.items())


def _state(name: str, state: str) -> Labels:
    return frozenset({"db.client.connection.pool.name": name, "db.client.connection.state": state}.items())


def test_each_measurement_has_its_name_unit_and_kind(metrics: Metrics, observer: OpenTelemetryObserver) -> None:
    pool, record = Pool(reading=PoolReading(1, 2, 3, 4, 5)), context(route="GET /orders")
    observer.pool_observed(pool)
    observer.connected(pool, 0.02)
    observer.connection_invalidated(pool)
    early = checkout(record, pool, 1.0, 1.0, 1.5, transaction(1.0, 1.5), by="commit", is_early=True)
    tell_all(
        observer,
        record,
        early,
        early_release(early, 2.0),
        failed(record, pool, 1.0, 2.0, "timeout", error=PoolTimeoutError()),
        failed(record, pool, 1.0, 1.5, "shed", error=PoolTimeoutError()),
        failed(record, pool, 1.0, 2.0, "cancelled", error=asyncio.CancelledError()),
    )
    observer.nested_checkout(NestedCheckout(pool, record))
    observer.retried(FailedAttempt(pool, record, "40001", 1, TimeoutError()))
    observer.leak_suspected(SuspectedLeak(early, 60.0, "somewhere"))
    observer.leak_returned(SuspectedLeak(early, 61.0, "somewhere"))
    assert {name: (metric.unit, _kind(metric)) for name, metric in metrics.collect().items()} == {
        "db.client.connection.count": ("{connection}", "gauge"),
        "db.client.connection.pending_requests": ("{request}", "gauge"),
        "db.client.connection.max": ("{connection}", "gauge"),
        "db.client.connection.idle.max": ("{connection}", "gauge"),
        "db.session.server_connections": ("{connection}", "gauge"),
        "db.session.pool.utilization": ("1", "highest"),
        "db.session.pool.used_peak": ("{connection}", "highest"),
        "db.session.pool.pending_peak": ("{request}", "highest"),
        "db.client.connection.timeouts": ("{timeout}", "counter"),
        "db.client.connection.wait_time": ("s", WAITED),
        "db.client.connection.create_time": ("s", WAITED),
        "db.client.connection.use_time": ("s", USED),
        "db.session.transaction.duration": ("s", USED),
        "db.session.held_idle": ("s", USED),
        "db.session.early_release.saved": ("s", USED),
        "db.session.requests_shed": ("{request}", "counter"),
        "db.session.early_releases": ("{release}", "counter"),
        "db.session.statements": ("{statement}", "counter"),
        "db.session.nested_checkouts": ("{checkout}", "counter"),
        "db.session.retries": ("{retry}", "counter"),
        "db.session.leaks_suspected": ("{connection}", "counter"),
        "db.session.waits_cancelled": ("{wait}", "counter"),
        "db.session.invalidations": ("{connection}", "counter"),
        "db.session.contexts": ("{context}", "counter"),
    }


def _kind(metric: Metric) -> str | list[float]:
    if isinstance(metric.data, Histogram):
        return list(metric.data.data_points[0].explicit_bounds)
    if isinstance(metric.data, Gauge):
        return "highest"
    assert isinstance(metric.data, Sum)
    return "counter" if metric.data.is_monotonic else "gauge"


def test_a_host_that_is_drained_counts_until_then(metrics: Metrics, observer: OpenTelemetryObserver) -> None:
    old = Pool(server_address="old.example", reading=PoolReading(used=2, idle=0, pending=0, maximum=2, idle_maximum=0))
    new = Pool(server_address="new.example", reading=PoolReading(used=1, idle=3, pending=0, maximum=15, idle_maximum=5))
    for pool in (old, new, Pool("file", server_address=None)):
        observer.pool_observed(pool)
    assert metrics.numbers("db.client.connection.count")[_state("main", "used")] == 3
    assert metrics.numbers("db.session.server_connections") == {
        _labels() | {("server.address", "old.example"), ("server.port", 5432)}: 2,
        _labels() | {("server.address", "new.example"), ("server.port", 5432)}: 4,
    }
    observer.pool_forgotten(old)
    assert list(metrics.numbers("db.session.server_connections").values()) == [4]


def test_the_state_of_pools_is_read_when_it_is_asked_for(metrics: Metrics, observer: OpenTelemetryObserver) -> None:
    limited, unlimited = Pool(), Pool("unlimited", reading=PoolReading(7, 0, 0, None, None))
    observer.pool_observed(limited)
    observer.pool_observed(unlimited)
    limited.reading = PoolReading(used=2, idle=1, pending=4, maximum=15, idle_maximum=5)
    assert metrics.numbers("db.client.connection.count") == {
        _state("main", "used"): 2,
        _state("main", "idle"): 1,
        _state("unlimited", "used"): 7,
        _state("unlimited", "idle"): 0,
    }
    assert metrics.numbers("db.client.connection.pending_requests") == {_labels(): 4, _labels("unlimited"): 0}
    assert metrics.numbers("db.client.connection.max") == {_labels(): 15}
    assert metrics.numbers("db.client.connection.idle.max") == {_labels(): 5}
    limited.reading, limited.highest = limited.reading._replace(used=3), PoolPeaks(used=6, pending=9)
    assert metrics.numbers("db.session.pool.utilization") == {_labels(): 0.2}
    assert metrics.numbers("db.session.pool.used_peak") == {_labels(): 6, _labels("unlimited"): 0}
    assert metrics.numbers("db.session.pool.pending_peak") == {_labels(): 9, _labels("unlimited"): 0}
    observer.pool_forgotten(unlimited)
    limited.reading = PoolReading(used=0, idle=0, pending=0, maximum=15, idle_maximum=5)
    assert metrics.numbers("db.client.connection.count") == {_state("main", "used"): 0, _state("main", "idle"): 0}


def test_a_checkout_is_measured_for_its_route(metrics: Metrics, observer: OpenTelemetryObserver) -> None:
    pool, record = Pool(), context(ended=3.0, route="POST /orders")
    tell_all(
        observer,
        record,
        checkout(
            record,
            pool,
            1.0,
            1.25,
            2.25,
            transaction(1.25, 1.5, "commit", statements=2, busy=0.125),
            transaction(1.5, 2.0, "rollback", statements=1, busy=0.125),
        ),
    )
    route = _labels(route="POST /orders")
    sums = {
        name: {labels: point.sum for labels, point in metrics.histogram(name).items()}
        for name in ("db.client.connection.wait_time", "db.client.connection.use_time", "db.session.held_idle")
    }
    assert sums == {
        "db.client.connection.wait_time": {route: 0.25},
        "db.client.connection.use_time": {route: 1.0},
        "db.session.held_idle": {route: 0.75},
    }
    durations = metrics.histogram("db.session.transaction.duration")
    assert {labels: point.sum for labels, point in durations.items()} == {
        _labels(route="POST /orders", outcome="commit"): 0.25,
        _labels(route="POST /orders", outcome="rollback"): 0.5,
    }
    assert metrics.numbers("db.session.statements") == {route: 3}
    assert metrics.numbers("db.session.contexts") == {frozenset({("outcome", "commit")}): 1}
    assert metrics.numbers("db.session.early_releases") == {}


def test_an_early_release_is_counted_by_what_it_was_and_its_saving_measured(
    metrics: Metrics, observer: OpenTelemetryObserver
) -> None:
    record = context(ended=5.0, route="POST /orders")
    early = checkout(record, Pool(), 1.0, 1.0, 2.0, by="headers", is_early=True)
    tell_all(observer, record, early, early_release(early, 5.0))
    assert metrics.numbers("db.session.early_releases") == {_labels(route="POST /orders", by="headers"): 1}
    assert metrics.histogram("db.session.early_release.saved")[_labels(route="POST /orders")].sum == 3.0


def test_waits_in_vain_are_in_the_wait_time_and_counted_by_their_reason(
    metrics: Metrics, observer: OpenTelemetryObserver
) -> None:
    pool = Pool()
    observer.checkout_failed(failed(None, pool, 0.0, 30.0, "timeout", error=PoolTimeoutError()))
    observer.checkout_failed(failed(None, pool, 0.0, 2.0, "cancelled", error=asyncio.CancelledError()))
    observer.checkout_failed(failed(None, pool, 0.0, 0.5, "error", error=ConnectionRefusedError()))
    observer.checkout_failed(failed(None, pool, 0.0, 0.25, "shed", error=PoolTimeoutError()))
    assert metrics.numbers("db.client.connection.timeouts") == {_labels(route="none"): 1}
    assert metrics.numbers("db.session.waits_cancelled") == {_labels(): 1}
    assert metrics.numbers("db.session.requests_shed") == {_labels(route="none"): 1}
    waits = metrics.histogram("db.client.connection.wait_time")[_labels(route="none")]
    assert (waits.count, waits.sum) == (4, 32.75)


def test_contexts_are_counted_from_zero_as_the_alerts_need_it(
    metrics: Metrics, observer: OpenTelemetryObserver
) -> None:
    observer.pool_observed(Pool())
    contexts = metrics.numbers("db.session.contexts")
    assert contexts == {frozenset({("outcome", outcome)}): 0 for outcome in ("commit", "rollback", "failed", "unused")}


def test_a_retry_is_counted_by_its_sqlstate(metrics: Metrics, observer: OpenTelemetryObserver) -> None:
    record = context(route="POST /orders")
    observer.retried(FailedAttempt(Pool(), record, "40001", 1, TimeoutError()))
    observer.retried(FailedAttempt(None, record, "40P01", 2, TimeoutError()))
    assert metrics.numbers("db.session.retries") == {
        _labels(route="POST /orders", sqlstate="40001"): 1,
        _labels("unknown", route="POST /orders", sqlstate="40P01"): 1,
    }


def test_without_a_meter_provider_nothing_is_measured() -> None:
    observer, record = OpenTelemetryObserver(), context()
    observer.pool_observed(Pool())
    observer.connected(Pool(), 0.1)
    tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 2.0))
    observer.pool_forgotten(Pool())
