"""Exemplars: the trace in which a value was measured, if OpenTelemetry is installed and samples the trace."""

Trace = dict[str, str]
"""The labels of an exemplar: ``trace_id`` and ``span_id``."""


class Traces:
    """The current trace for exemplars. This base class is used without OpenTelemetry and never has a trace."""

    def current(self) -> Trace | None:
        """Return the labels of the current trace, or None."""
        return None


try:
    from opentelemetry.context import get_current
    from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
except ImportError:
    TracesOfProcess: type[Traces] = Traces
else:

    class _OpenTelemetryTraces(Traces):
        """The current trace of OpenTelemetry."""

        def current(self) -> Trace | None:
            """Return the labels of the current trace, or None if no sampled span is current."""
            context = get_current()
            if not context:
                # Without this a process that traces nothing would look for a span in each request.
                return None
            span = get_current_span(context).get_span_context()
            # No backend stores a span that is not sampled, so the exemplar's link would lead nowhere.
            if not span.trace_flags.sampled:
                return None
            return {"trace_id": format_trace_id(span.trace_id), "span_id": format_span_id(span.span_id)}

    TracesOfProcess = _OpenTelemetryTraces
