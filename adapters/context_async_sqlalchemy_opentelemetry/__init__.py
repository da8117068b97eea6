"""The OpenTelemetry adapter: the session-lifecycle tracer, on the API alone."""

from .observer import OpenTelemetryObserver, default_observer

__all__ = ["OpenTelemetryObserver", "default_observer"]
