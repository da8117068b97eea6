"""Grafana dashboards, Prometheus alerts, and what runs them around the demo. Only ``builder`` is Python."""
