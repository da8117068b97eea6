"""The observer: hands what it is told to the spans, and to the metrics if there are any."""

from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from context_async_sqlalchemy.observer import (
    Checkout,
    ContextRecord,
    EarlyRelease,
    FailedAttempt,
    FailedCheckout,
    NestedCheckout,
    ObservedPool,
    Observer,
    SuspectedLeak,
)

from .metrics import Metrics
from .tracer import SessionTracer

_SCOPE = "context_async_sqlalchemy_opentelemetry"


class OpenTelemetryObserver(Observer):
    """Traces contexts, and measures them where a MeterProvider is given.

    Args:
        tracer_provider: whose sampler and exporters the spans pass; by default the global one, which may be set
            later: it is looked for once a second until it is there. Without an SDK nothing is kept or built.
        meter_provider: where the measurements go; by default nowhere: one way out for metrics is enough, and each
            measurement costs several microseconds in the SDK. Give it to one observer of a process only.

    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        own_version = version("context-async-sqlalchemy")
        self._spans = SessionTracer(trace.get_tracer(_SCOPE, own_version, tracer_provider))
        self.hears_of_kept_only = meter_provider is None
        self._metrics = None if meter_provider is None else Metrics(meter_provider.get_meter(_SCOPE, own_version))

    def pool_observed(self, pool: ObservedPool) -> None:
        """Report the pool's state from now on."""
        if self._metrics is not None:
            self._metrics.pool_observed(pool)

    def pool_forgotten(self, pool: ObservedPool) -> None:
        """Report it no more."""
        if self._metrics is not None:
            self._metrics.pool_forgotten(pool)

    def connected(self, pool: ObservedPool, seconds: float) -> None:
        """Measure how long a connection took to be opened."""
        if self._metrics is not None:
            self._metrics.connected(pool, seconds)

    def connection_invalidated(self, pool: ObservedPool) -> None:
        """Count a connection that was thrown away."""
        if self._metrics is not None:
            self._metrics.connection_invalidated(pool)

    def context_began(self, context: ContextRecord) -> None:
        """Decide whether the context is traced."""
        if context.began_at >= self._spans.without_sdk_until:
            self._spans.context_began(context)

    def context_ended(self, context: ContextRecord) -> None:
        """Build the context's spans; count it."""
        self._spans.context_ended(context)
        if self._metrics is not None:
            self._metrics.context_ended(context)

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Add a wait in vain to its context's spans; measure it."""
        self._spans.checkout_failed(failure)
        if self._metrics is not None:
            self._metrics.checkout_failed(failure)

    def checkout_ended(self, checkout: Checkout) -> None:
        """Add a checkout to its context's spans; measure it."""
        self._spans.checkout_ended(checkout)
        if self._metrics is not None:
            self._metrics.checkout_ended(checkout)

    def early_release_ended(self, release: EarlyRelease) -> None:
        """Measure what an early release has saved."""
        if self._metrics is not None:
            self._metrics.early_release_ended(release)

    def nested_checkout(self, nested: NestedCheckout) -> None:
        """Count a wait of a context that holds a connection already."""
        if self._metrics is not None:
            self._metrics.nested_checkout(nested)

    def retried(self, attempt: FailedAttempt) -> None:
        """Count an attempt that is made again."""
        if self._metrics is not None:
            self._metrics.retried(attempt)

    def leak_suspected(self, leak: SuspectedLeak) -> None:
        """Count a connection that is held for long."""
        if self._metrics is not None:
            self._metrics.leak_suspected(leak)


def default_observer() -> OpenTelemetryObserver:
    """Make the observer that an installed OpenTelemetry API brings: spans through the global TracerProvider."""
    return OpenTelemetryObserver()
