"""The Prometheus adapter: metrics of pools, transactions and contexts, and the body of /metrics."""

from .observer import PrometheusObserver, default_observer

__all__ = ["PrometheusObserver", "default_observer"]
