"""The observer that turns records into Prometheus metrics, and renders the metrics."""

import gzip
from collections.abc import Sequence
from functools import cache
from threading import RLock
from typing import get_args

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import gzip_accepted

from context_async_sqlalchemy.adapter_kit import kind_of, workers_of_command
from context_async_sqlalchemy.observer import (
    Checkout,
    ContextOutcome,
    ContextRecord,
    EarlyRelease,
    FailedAttempt,
    FailedCheckout,
    NestedCheckout,
    ObservedPool,
    Observer,
    SuspectedLeak,
)

from .exemplars import Traces, TracesOfProcess
from .exposition import render
from .metrics import Metrics, PoolSeries, RouteSeries
from .multiprocess import directory_or_none, registry_of_all, wipe
from .pools import GAUGES, PoolCollector, PoolGauges
from .process_files import claim
from .series import CounterSeries
from .several_workers import warn_of_several


class PrometheusObserver(Observer):
    """Measures pools, transactions and contexts, for Prometheus to scrape.

    If ``PROMETHEUS_MULTIPROC_DIR`` is set, a scrape answers for all processes of the server.

    Args:
        registry: the registry for the metrics; by default prometheus-client's. ``expose`` renders the whole registry,
            an application's metrics included.

    Raises:
        TypeError: the registry is not a CollectorRegistry.
        ValueError: the registry has these metrics already, because it has another observer.
        RuntimeError: ``PROMETHEUS_MULTIPROC_DIR`` was set after the import of prometheus-client.

    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        _check_registry(registry)
        self._registry = registry
        self._directory = directory_or_none()
        self._of_all = None if self._directory is None else registry_of_all(self._directory)
        self._traces: Traces = TracesOfProcess()
        if self._directory is None:
            warn_of_several(workers_of_command())
            self._pools: PoolCollector | PoolGauges = PoolCollector(registry)
            self._gauges: PoolGauges | None = None
        else:
            self._directory.mkdir(parents=True, exist_ok=True)
            claim(self._directory)
            self._pools = self._gauges = PoolGauges(registry)
            self._traces = Traces()  # The multiprocess mode drops exemplars (prometheus-client 0.26).
        # Every update of a metric holds this lock; see .series. It is never held while a route or a span is looked up,
        # because the adapter's or OpenTelemetry's code runs there.
        self._lock = RLock()
        self._metrics = Metrics(registry, self._lock, in_files=self._directory is not None)
        self._names = GAUGES | self._metrics.names
        self._by_pool: dict[str, PoolSeries] = {}
        self._by_route: dict[tuple[str, str], RouteSeries] = {}
        # There from the first scrape on: alerts tell by it whether a process was scraped before a series began.
        self._contexts: dict[ContextOutcome, CounterSeries] = {
            outcome: self._metrics.contexts.labels(outcome) for outcome in get_args(ContextOutcome)
        }

    def expose(self, accept: str, accept_encoding: str) -> tuple[Sequence[tuple[str, str]], bytes]:
        """Return headers and body of a scrape: all metrics of the registry, or of all processes.

        Args:
            accept: the request's Accept header. It chooses OpenMetrics, with exemplars, or Prometheus' text format.
            accept_encoding: the request's Accept-Encoding header. The body is compressed if the header accepts gzip.

        Returns:
            The response's headers and body.

        """
        content_type, body = render(self._scraped(), accept, self._names)
        headers = [("Content-Type", content_type)]
        if gzip_accepted(accept_encoding):
            headers.append(("Content-Encoding", "gzip"))
            # Not prometheus-client's level 9, because that takes several times as long for a slightly smaller body.
            body = gzip.compress(body, compresslevel=1)
        return headers, body

    def _scraped(self) -> CollectorRegistry:
        if self._gauges is None or self._of_all is None:
            return self._registry
        self._gauges.refresh()
        return self._of_all

    def workers_starting(self, workers: int) -> None:
        """Delete the files of an earlier run. Without a directory for files, warn of several workers."""
        if self._directory is None:
            warn_of_several(workers)
        else:
            wipe(self._directory)

    def pool_observed(self, pool: ObservedPool) -> None:
        """Read the pool from now on, and create its series at zero."""
        self._pools.observe(pool)
        with self._lock:
            self._of_pool(pool)

    def pool_forgotten(self, pool: ObservedPool) -> None:
        """Stop reading the pool. Its counters stay."""
        self._pools.forget(pool)

    def connected(self, pool: ObservedPool, seconds: float) -> None:
        """Measure how long the connection took to open."""
        exemplar = self._traces.current()
        with self._lock:
            self._of_pool(pool).create_time.observe(seconds, exemplar)

    def connection_invalidated(self, pool: ObservedPool) -> None:
        """Count the invalidated connection."""
        with self._lock:
            self._of_pool(pool).invalidations.inc()

    def context_ended(self, context: ContextRecord) -> None:
        """Count the context by its outcome."""
        counter = self._contexts[context.outcome]
        lock = self._lock
        lock.acquire()
        try:
            counter.inc()
        finally:
            lock.release()

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Measure the wait of a failed checkout.

        The histogram includes failed waits, because its percentiles would otherwise look best when the pool is worst.
        """
        exemplar, route = self._traces.current(), failure.route
        with self._lock:
            series = self._of_route(failure.pool.name, route)
            series.wait_time.observe(failure.wait_seconds, exemplar)
            if failure.failure == "timeout":
                series.timeouts.inc()
            elif failure.failure == "shed":
                series.requests_shed.inc()
            elif failure.failure == "cancelled":
                self._of_pool(failure.pool).waits_cancelled.inc()

    def checkout_ended(self, checkout: Checkout) -> None:
        """Measure the wait, the hold and the transactions of a checkout."""
        exemplar, route = self._traces.current(), checkout.route
        with self._lock:
            self._of_route(checkout.pool.name, route).checkout_ended(checkout, exemplar)
        if self._gauges is not None:
            self._gauges.keep_fresh()

    def early_release_ended(self, release: EarlyRelease) -> None:
        """Measure how long the connection was available to other contexts."""
        exemplar, pool, route = self._traces.current(), release.checkout.pool, release.checkout.route
        with self._lock:
            self._of_route(pool.name, route).early_release_saved.observe(release.saved_seconds, exemplar)

    def nested_checkout(self, nested: NestedCheckout) -> None:
        """Count the context that waits for a second connection of a pool."""
        route = nested.route
        with self._lock:
            self._of_route(nested.pool.name, route).nested_checkouts.inc()

    def retried(self, attempt: FailedAttempt) -> None:
        """Count the attempt that the database refused."""
        pool, route = "unknown" if attempt.pool is None else attempt.pool.name, attempt.route
        with self._lock:
            self._metrics.retries.labels(pool, route, attempt.sqlstate).inc()

    def leak_suspected(self, leak: SuspectedLeak) -> None:
        """Count the suspected leak."""
        with self._lock:
            self._of_pool(leak.checkout.pool).leaks_suspected.inc()

    def _of_pool(self, pool: ObservedPool) -> PoolSeries:
        series = self._by_pool.get(pool.name)
        if series is None:
            series = self._by_pool[pool.name] = PoolSeries(self._metrics, pool.name)
        return series

    def _of_route(self, pool: str, route: str) -> RouteSeries:
        labels = pool, route
        series = self._by_route.get(labels)
        if series is None:
            series = self._by_route[labels] = RouteSeries(self._metrics, *labels)
        return series


def _check_registry(given: object) -> None:
    if not isinstance(given, CollectorRegistry):
        raise TypeError(f"PrometheusObserver takes a CollectorRegistry of prometheus-client: got {kind_of(given)}")


@cache
def default_observer() -> PrometheusObserver:
    """Return the observer of this process, which measures into prometheus-client's default registry."""
    return PrometheusObserver()
