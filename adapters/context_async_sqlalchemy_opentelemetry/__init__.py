"""The OpenTelemetry adapter: the session-lifecycle tracer, on the API alone."""
