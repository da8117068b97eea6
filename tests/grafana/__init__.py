"""Dashboards, alerts and what is shipped with them: checked by themselves, and on a real Prometheus."""
