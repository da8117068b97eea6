"""The measurements as OpenTelemetry metrics.

The names are those of the semantic conventions 1.44 (docs/db/database-metrics.md). ``db.session.*`` and the attributes
``route``, ``outcome``, ``by`` and ``sqlstate`` are ours. In Prometheus form all names are those of the Prometheus
adapter, so that one dashboard serves both.
"""

from typing import get_args

from opentelemetry.metrics import Histogram, Meter

from context_async_sqlalchemy.observer import (
    Checkout,
    ContextOutcome,
    ContextRecord,
    EarlyRelease,
    FailedAttempt,
    FailedCheckout,
    NestedCheckout,
    ObservedPool,
    SuspectedLeak,
)

from .attributes import POOL_NAME
from .pool_gauges import register_pool_gauges

WAIT_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0)
"""Seconds: the conventions' buckets for operations, and 30 because it is SQLAlchemy's default ``pool_timeout``."""

USE_BUCKETS = (*WAIT_BUCKETS, 60.0, 300.0)
"""Seconds: the buckets go on to 300 because streams may hold a connection for minutes."""


class Metrics:
    """The instruments, updated by the methods of an observer.

    Args:
        meter: the meter that creates the instruments.

    """

    def __init__(self, meter: Meter) -> None:
        self._pools: set[ObservedPool] = set()
        register_pool_gauges(meter, self._pools)

        def seconds(name: str, description: str, buckets: tuple[float, ...] = USE_BUCKETS) -> Histogram:
            return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=buckets)

        waiting = "Time a checkout took, waits that timed out or were cancelled included."
        self._wait_time = seconds("db.client.connection.wait_time", waiting, WAIT_BUCKETS)
        self._create_time = seconds("db.client.connection.create_time", "Time to open a connection.", WAIT_BUCKETS)
        self._use_time = seconds("db.client.connection.use_time", "Time a connection was out of its pool.")
        self._transaction = seconds("db.session.transaction.duration", "Time of a transaction, its end included.")
        self._held_idle = seconds("db.session.held_idle", "Time a connection was held while the driver did nothing.")
        saved = "Time for which others could have a connection: until the end of its context, or its next checkout."
        self._saved = seconds("db.session.early_release.saved", saved)

        count = meter.create_counter
        self._timeouts = count("db.client.connection.timeouts", "{timeout}", "Waits that timed out.")
        self._shed = count("db.session.requests_shed", "{request}", "Checkouts refused, as they waited for too long.")
        self._early_releases = count(
            "db.session.early_releases", "{release}", "Connections given back before their context ended."
        )
        self._statements = count("db.session.statements", "{statement}", "Statements executed.")
        self._nested = count(
            "db.session.nested_checkouts",
            "{checkout}",
            "Waits of contexts that already held a connection of the same pool.",
        )
        self._retries = count(
            "db.session.retries", "{retry}", "Functions run again after a serialization failure or a deadlock."
        )
        self._leaks = count("db.session.leaks_suspected", "{connection}", "Connections held beyond the threshold.")
        self._cancelled = count("db.session.waits_cancelled", "{wait}", "Waits that were cancelled.")
        self._invalidations = count("db.session.invalidations", "{connection}", "Connections thrown away.")
        self._contexts = count("db.session.contexts", "{context}", "Contexts that asked for a connection.")

    def pool_observed(self, pool: ObservedPool) -> None:
        """Report the state of the pool from now on, and the contexts from zero.

        The alerts tell by the series of contexts whether a process was seen before the series of a trouble began.
        """
        self._pools.add(pool)
        for outcome in get_args(ContextOutcome):
            self._contexts.add(0, {"outcome": outcome})

    def pool_forgotten(self, pool: ObservedPool) -> None:
        """Stop reporting the state of the pool."""
        self._pools.discard(pool)

    def connected(self, pool: ObservedPool, seconds: float) -> None:
        """Measure how long the connection took to open."""
        self._create_time.record(seconds, {POOL_NAME: pool.name})

    def connection_invalidated(self, pool: ObservedPool) -> None:
        """Count the invalidated connection."""
        self._invalidations.add(1, {POOL_NAME: pool.name})

    def context_ended(self, context: ContextRecord) -> None:
        """Count the context by its outcome."""
        self._contexts.add(1, {"outcome": context.outcome})

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Measure the wait of a failed checkout, and count a time-out, a refusal or a cancellation."""
        attributes = {POOL_NAME: failure.pool.name, "route": failure.route}
        self._wait_time.record(failure.wait_seconds, attributes)
        if failure.failure == "timeout":
            self._timeouts.add(1, attributes)
        elif failure.failure == "shed":
            self._shed.add(1, attributes)
        elif failure.failure == "cancelled":
            self._cancelled.add(1, {POOL_NAME: failure.pool.name})

    def checkout_ended(self, checkout: Checkout) -> None:
        """Measure the wait, the hold and the transactions of a checkout."""
        attributes = {POOL_NAME: checkout.pool.name, "route": checkout.route}
        self._wait_time.record(checkout.wait_seconds, attributes)
        self._use_time.record(checkout.hold_seconds, attributes)
        self._held_idle.record(checkout.idle_seconds, attributes)
        if checkout.statements:
            self._statements.add(checkout.statements, attributes)
        for transaction in checkout.transactions:
            self._transaction.record(transaction.seconds, {**attributes, "outcome": transaction.outcome})
        if checkout.is_early:
            self._early_releases.add(1, {**attributes, "by": checkout.released_by})

    def early_release_ended(self, release: EarlyRelease) -> None:
        """Measure how long the connection was available to other contexts."""
        checkout = release.checkout
        self._saved.record(release.saved_seconds, {POOL_NAME: checkout.pool.name, "route": checkout.route})

    def nested_checkout(self, nested: NestedCheckout) -> None:
        """Count the context that waits for a second connection of a pool."""
        self._nested.add(1, {POOL_NAME: nested.pool.name, "route": nested.route})

    def retried(self, attempt: FailedAttempt) -> None:
        """Count the attempt that the database refused."""
        pool = "unknown" if attempt.pool is None else attempt.pool.name
        self._retries.add(1, {POOL_NAME: pool, "route": attempt.route, "sqlstate": attempt.sqlstate})

    def leak_suspected(self, leak: SuspectedLeak) -> None:
        """Count the suspected leak."""
        self._leaks.add(1, {POOL_NAME: leak.checkout.pool.name})
