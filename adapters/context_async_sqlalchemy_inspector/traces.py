"""The trace that a session belongs to, if the application uses OpenTelemetry."""

import sys
from typing import Any


def current_trace() -> str | None:
    """Return the id of the trace whose span is current and recorded, or None.

    OpenTelemetry is not imported here. If the application has not imported it, there is no trace.
    """
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    span = api.get_current_span()
    return format(span.get_span_context().trace_id, "032x") if span.is_recording() else None
