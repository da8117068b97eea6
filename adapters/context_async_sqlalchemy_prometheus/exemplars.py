"""Exemplars: the trace in which a value was measured, if OpenTelemetry is installed and samples the trace."""

import math

Trace = dict[str, str]
"""The labels of an exemplar: ``trace_id`` and ``span_id``."""


class Traces:
    """The current trace for exemplars. This base class is used without OpenTelemetry and never has a trace.

    Attributes:
        asleep_until: the instant, in nanoseconds of :func:`time.perf_counter_ns`, before which ``current`` returns
            None. A caller may skip the call until then.

    """

    asleep_until: float = math.inf

    def current(self, now: float = -math.inf) -> Trace | None:  # noqa: ARG002 - a derived class uses it
        """Return the labels of the current trace, or None.

        Args:
            now: the current instant in nanoseconds. ``asleep_until`` is computed from it.

        """
        return None


try:
    from opentelemetry.context import get_current
    from opentelemetry.trace import (
        ProxyTracerProvider,
        format_span_id,
        format_trace_id,
        get_current_span,
        get_tracer_provider,
    )
except ImportError:
    TracesOfProcess: type[Traces] = Traces
else:
    _LOOK_FOR_SDK_EVERY = 1_000_000_000
    """Nanoseconds."""

    class _OpenTelemetryTraces(Traces):
        """The current trace of OpenTelemetry. Without an SDK it looks for one only once a second."""

        def __init__(self) -> None:
            self.asleep_until = -math.inf
            self._may_be_without_sdk = True

        def current(self, now: float = -math.inf) -> Trace | None:
            """Return the labels of the current trace, or None if no sampled span is current."""
            context = get_current()
            if not context:
                # An empty context has no span. The look-up of one is skipped because it is slow.
                if self._may_be_without_sdk:
                    self._may_be_without_sdk = isinstance(get_tracer_provider(), ProxyTracerProvider)
                    if self._may_be_without_sdk:
                        self.asleep_until = now + _LOOK_FOR_SDK_EVERY
                return None
            # The context's span may come from a provider that is not the global one, so an SDK is assumed from now on.
            self._may_be_without_sdk = False
            span = get_current_span(context).get_span_context()
            # No backend stores a span that is not sampled, so the exemplar's link would lead nowhere.
            if not span.trace_flags.sampled:
                return None
            return {"trace_id": format_trace_id(span.trace_id), "span_id": format_span_id(span.span_id)}

    TracesOfProcess = _OpenTelemetryTraces
