"""The metrics with their names, help texts, labels and buckets, and the series of a pool and of a route.

The names and help texts of ``db_client_connection_*`` are those of OpenTelemetry's semantic conventions 1.44
(docs/db/database-metrics.md) in Prometheus form, so that one dashboard serves both. ``db_session_*`` are ours.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram

from context_async_sqlalchemy.observer import Checkout, ReleaseCause, TransactionOutcome
from context_async_sqlalchemy.retry import RETRYABLE_SQLSTATES

from .exemplars import Trace
from .series import CounterSeries, CountersOfProcess, Family, HistogramSeries, HistogramsOfProcess, Lock

POOL_LABEL = "db_client_connection_pool_name"
STATE_LABEL = "db_client_connection_state"
SERVER_ADDRESS_LABEL = "server_address"
SERVER_PORT_LABEL = "server_port"

WAIT_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30)
"""Seconds: the conventions' buckets for operations, and 30 because it is SQLAlchemy's default ``pool_timeout``."""

USE_BUCKETS = (*WAIT_BUCKETS, 60, 300)
"""Seconds: the buckets go on to 300 because streams may hold a connection for minutes."""

_NANOSECOND = 1e-9


class Metrics:
    """All counters and histograms of one registry.

    Args:
        registry: the registry that the metrics are registered in.
        lock: the lock that the observer holds while it updates a metric.
        in_files: whether to use prometheus-client's classes, which keep values in files in its multiprocess mode.

    Attributes:
        names: the names of the metrics.

    Raises:
        ValueError: the registry has metrics of these names already.

    """

    def __init__(self, registry: CollectorRegistry, lock: Lock, *, in_files: bool) -> None:
        self.names: set[str] = set()

        def counter(name: str, what: str, *labels: str) -> Family[CounterSeries]:
            self.names.add(name)
            if in_files:
                return Counter(name, what, labels, registry=registry)
            return CountersOfProcess(name, what, labels, registry=registry, lock=lock)

        def histogram(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Family[HistogramSeries]:
            self.names.add(f"{name}_seconds")
            if in_files:
                return Histogram(name, what, labels, unit="seconds", buckets=buckets, registry=registry)
            return HistogramsOfProcess(name, what, labels, buckets, registry=registry, lock=lock)

        of_route = (POOL_LABEL, "route")
        self.wait_time = histogram(
            "db_client_connection_wait_time",
            "The time it took to obtain an open connection from the pool; waits in vain included.",
            WAIT_BUCKETS,
            *of_route,
        )
        self.create_time = histogram(
            "db_client_connection_create_time", "The time it took to create a new connection.", WAIT_BUCKETS, POOL_LABEL
        )
        self.use_time = histogram(
            "db_client_connection_use_time",
            "The time between borrowing a connection and returning it to the pool.",
            USE_BUCKETS,
            *of_route,
        )
        self.timeouts = counter(
            "db_client_connection_timeouts",
            "The number of connection timeouts that have occurred trying to obtain a connection from the pool.",
            *of_route,
        )
        self.requests_shed = counter(
            "db_session_requests_shed",
            "Checkouts refused because they waited for too long (max_wait) or too many waited (max_waiting).",
            *of_route,
        )
        self.transaction_duration = histogram(
            "db_session_transaction_duration",
            "The time from a transaction's first statement to the end of its COMMIT or ROLLBACK.",
            USE_BUCKETS,
            *of_route,
            "outcome",
        )
        self.held_idle = histogram(
            "db_session_held_idle",
            "The time for which a connection was borrowed and idle: what an earlier release would give to others.",
            USE_BUCKETS,
            *of_route,
        )
        self.early_releases = counter(
            "db_session_early_releases",
            "Connections given back before the end of their context, by what gave them back.",
            *of_route,
            "by",
        )
        self.early_release_saved = histogram(
            "db_session_early_release_saved",
            "The time from an early release to the end of the context or its next checkout.",
            USE_BUCKETS,
            *of_route,
        )
        self.statements = counter("db_session_statements", "Statements executed.", *of_route)
        self.nested_checkouts = counter(
            "db_session_nested_checkouts",
            "Waits for a connection while holding another one of the same pool: enough of them deadlock it.",
            *of_route,
        )
        self.retries = counter(
            "db_session_retries",
            "Functions run again after a serialization failure (40001) or a deadlock (40P01).",
            *of_route,
            "sqlstate",
        )
        self.leaks_suspected = counter(
            "db_session_leaks_suspected", "Connections held for longer than the leak threshold.", POOL_LABEL
        )
        self.waits_cancelled = counter(
            "db_session_waits_cancelled", "Waits for a connection that were cancelled.", POOL_LABEL
        )
        self.invalidations = counter(
            "db_session_invalidations", "Connections thrown away because of an error on them.", POOL_LABEL
        )
        self.contexts = counter(
            "db_session_contexts", "Contexts that have asked for a connection and ended, by their outcome.", "outcome"
        )


class PoolSeries:
    """The series of one pool.

    The series begin at zero when the pool is observed, because Prometheus sees no increase in a series that begins
    at one.
    """

    def __init__(self, metrics: Metrics, pool: str) -> None:
        self.create_time = metrics.create_time.labels(pool)
        self.leaks_suspected = metrics.leaks_suspected.labels(pool)
        self.waits_cancelled = metrics.waits_cancelled.labels(pool)
        self.invalidations = metrics.invalidations.labels(pool)


class RouteSeries:
    """The series of one pool and route, kept because a look-up by labels costs more than an update.

    Error counters start at zero together with the rest of the route's series, as a pool's do. Rarely used series,
    histograms above all, are created on first use, because each histogram adds many lines to a scrape. Lost
    transactions get no series at zero: the pool's invalidation counter covers them. Transactions of unknown outcome
    get one, so that an alert can name the route.
    """

    def __init__(self, metrics: Metrics, pool: str, route: str) -> None:
        self._metrics = metrics
        self._labels = (pool, route)
        unknown: TransactionOutcome = "unknown"
        self._transactions = {unknown: metrics.transaction_duration.labels(pool, route, unknown)}
        self._early_releases: dict[ReleaseCause, CounterSeries] = {}
        self._saved: HistogramSeries | None = None
        self.wait_time = metrics.wait_time.labels(pool, route)
        self.use_time = metrics.use_time.labels(pool, route)
        self.held_idle = metrics.held_idle.labels(pool, route)
        self.statements = metrics.statements.labels(pool, route)
        self.timeouts = metrics.timeouts.labels(pool, route)
        self.requests_shed = metrics.requests_shed.labels(pool, route)
        self.nested_checkouts = metrics.nested_checkouts.labels(pool, route)
        for sqlstate in sorted(RETRYABLE_SQLSTATES):
            metrics.retries.labels(pool, route, sqlstate)

    def checkout_ended(self, checkout: Checkout, exemplar: Trace | None) -> None:
        """Update all series of the route by a checkout that has ended."""
        # Computed from the instants, because the record's properties in seconds would each cost a call.
        taken_at = checkout.taken_at
        held = checkout.released_at - taken_at
        idle = held - checkout.busy
        self.wait_time.observe((taken_at - checkout.asked_at) * _NANOSECOND, exemplar)
        self.use_time.observe(held * _NANOSECOND, exemplar)
        self.held_idle.observe(idle * _NANOSECOND if idle > 0 else 0.0, exemplar)
        self.statements.inc(checkout.statements)
        for transaction in checkout.transactions:
            self._transactions_that(transaction.outcome).observe(
                (transaction.ended_at - transaction.started_at) * _NANOSECOND, exemplar
            )
        if checkout.is_early:
            self._early_releases_by(checkout.released_by).inc()

    def _transactions_that(self, outcome: TransactionOutcome) -> HistogramSeries:
        series = self._transactions.get(outcome)
        if series is None:
            series = self._transactions[outcome] = self._metrics.transaction_duration.labels(*self._labels, outcome)
        return series

    def _early_releases_by(self, cause: ReleaseCause) -> CounterSeries:
        series = self._early_releases.get(cause)
        if series is None:
            series = self._early_releases[cause] = self._metrics.early_releases.labels(*self._labels, cause)
        return series

    @property
    def early_release_saved(self) -> HistogramSeries:
        """The series of the time that early releases saved, created on first use."""
        if self._saved is None:
            self._saved = self._metrics.early_release_saved.labels(*self._labels)
        return self._saved
