"""The OpenTelemetry adapter: spans and metrics, from records made by hand and from real requests."""
