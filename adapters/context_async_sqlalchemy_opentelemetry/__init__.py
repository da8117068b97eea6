"""The OpenTelemetry adapter: an observer that makes spans and metrics. It imports OpenTelemetry's API, not its SDK."""

from .observer import OpenTelemetryObserver, default_observer

__all__ = ["OpenTelemetryObserver", "default_observer"]
