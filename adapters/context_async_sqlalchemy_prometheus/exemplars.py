"""Exemplars: the trace in which something was measured, where OpenTelemetry is there and records it."""

import math

Trace = dict[str, str]
"""The labels of an exemplar: the identifiers of a trace and of a span."""


class Traces:
    """Finds the current trace; as it is, without OpenTelemetry, it knows of none.

    Attributes:
        asleep_until: an instant before which there is no need to ask.

    """

    asleep_until: float = math.inf

    def current(self, now: float = -math.inf) -> Trace | None:  # noqa: ARG002 - what a derived class uses
        """Return the current trace, if any.

        Args:
            now: the instant; with it ``asleep_until`` is set anew.

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
        """Finds it; in a process that traces nothing, as yet, it looks once a second."""

        def __init__(self) -> None:
            self.asleep_until = -math.inf
            self._may_be_without_sdk = True

        def current(self, now: float = -math.inf) -> Trace | None:
            """Return the current trace, if any."""
            context = get_current()
            if not context:
                # Asking for the span of nothing takes twice as long.
                if self._may_be_without_sdk:
                    self._may_be_without_sdk = isinstance(get_tracer_provider(), ProxyTracerProvider)
                    if self._may_be_without_sdk:
                        self.asleep_until = now + _LOOK_FOR_SDK_EVERY
                return None
            # Perhaps of a provider that is not the global one.
            self._may_be_without_sdk = False
            span = get_current_span(context).get_span_context()
            # A span that is not sampled is kept by nobody: its id would lead nowhere.
            if not span.trace_flags.sampled:
                return None
            return {"trace_id": format_trace_id(span.trace_id), "span_id": format_span_id(span.span_id)}

    TracesOfProcess = _OpenTelemetryTraces
