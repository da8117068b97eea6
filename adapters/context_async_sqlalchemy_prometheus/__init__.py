"""The Prometheus adapter: an observer that measures pools, transactions and contexts, and renders ``/metrics``."""

from .observer import PrometheusObserver, default_observer

__all__ = ["PrometheusObserver", "default_observer"]
