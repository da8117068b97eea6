"""The line that docs/how-to/serve-metrics.md has for gunicorn.conf.py."""

from context_async_sqlalchemy_prometheus.multiprocess import child_exit, on_starting

__all__ = ["child_exit", "on_starting"]
