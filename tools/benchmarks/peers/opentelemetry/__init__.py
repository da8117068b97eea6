"""OpenTelemetry's instrumentation of SQLAlchemy, in an environment of its own."""
