"""The observer: it passes records to the tracer, and to the metrics if a MeterProvider is given."""

from functools import cache
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from context_async_sqlalchemy.adapter_kit import kind_of
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
_SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions whose names the attributes and metrics have."""


class OpenTelemetryObserver(Observer):
    """Traces contexts, and measures them if a MeterProvider is given.

    Args:
        tracer_provider: the provider of the tracer; by default the global one. The application may set the global
            provider later: the observer looks for it once a second. Without an SDK the observer builds no spans.
        meter_provider: the provider of the meter; by default there are no metrics, because each measurement costs time
            in the SDK and the Prometheus adapter measures the same. Give it to only one observer of a process.

    Raises:
        TypeError: an argument is not a provider.

    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        _check_provider("tracer_provider", tracer_provider, "get_tracer")
        _check_provider("meter_provider", meter_provider, "get_meter")
        own_version = version("context-async-sqlalchemy")
        self._spans = SessionTracer(trace.get_tracer(_SCOPE, own_version, tracer_provider, _SCHEMA_URL))
        self.hears_of_kept_only = meter_provider is None
        self._metrics = (
            None if meter_provider is None else Metrics(meter_provider.get_meter(_SCOPE, own_version, _SCHEMA_URL))
        )

    def pool_observed(self, pool: ObservedPool) -> None:
        """Report the state of the pool from now on."""
        if self._metrics is not None:
            self._metrics.pool_observed(pool)

    def pool_forgotten(self, pool: ObservedPool) -> None:
        """Stop reporting the state of the pool."""
        if self._metrics is not None:
            self._metrics.pool_forgotten(pool)

    def connected(self, pool: ObservedPool, seconds: float) -> None:
        """Measure how long the connection took to open."""
        if self._metrics is not None:
            self._metrics.connected(pool, seconds)

    def connection_invalidated(self, pool: ObservedPool) -> None:
        """Count the invalidated connection."""
        if self._metrics is not None:
            self._metrics.connection_invalidated(pool)

    def context_began(self, context: ContextRecord) -> None:
        """Decide whether the context is traced."""
        if context.began_at >= self._spans.without_sdk_until:
            self._spans.context_began(context)

    def context_ended(self, context: ContextRecord) -> None:
        """Build the spans of the context, and count the context by its outcome."""
        self._spans.context_ended(context)
        if self._metrics is not None:
            self._metrics.context_ended(context)

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Add a failed checkout to the spans of its context, and measure its wait."""
        self._spans.checkout_failed(failure)
        if self._metrics is not None:
            self._metrics.checkout_failed(failure)

    def checkout_ended(self, checkout: Checkout) -> None:
        """Add a checkout to the spans of its context, and measure it."""
        self._spans.checkout_ended(checkout)
        if self._metrics is not None:
            self._metrics.checkout_ended(checkout)

    def early_release_ended(self, release: EarlyRelease) -> None:
        """Measure how long the connection was available to other contexts."""
        if self._metrics is not None:
            self._metrics.early_release_ended(release)

    def nested_checkout(self, nested: NestedCheckout) -> None:
        """Count the context that waits for a second connection of a pool."""
        if self._metrics is not None:
            self._metrics.nested_checkout(nested)

    def retried(self, attempt: FailedAttempt) -> None:
        """Count the attempt that the database refused."""
        if self._metrics is not None:
            self._metrics.retried(attempt)

    def leak_suspected(self, leak: SuspectedLeak) -> None:
        """Count the suspected leak."""
        if self._metrics is not None:
            self._metrics.leak_suspected(leak)


def _check_provider(argument: str, given: object, method: str) -> None:
    # Not isinstance(), because the classes of the API have duck-typed rivals.
    if given is not None and not hasattr(given, method):
        raise TypeError(f"{argument} is a provider of OpenTelemetry, which has {method}(): got {kind_of(given)}")


@cache
def default_observer() -> OpenTelemetryObserver:
    """Return the observer of this process that ``setup_db`` uses by default: spans by the global TracerProvider."""
    return OpenTelemetryObserver()
