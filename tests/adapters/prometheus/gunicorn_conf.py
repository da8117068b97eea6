"""What the README tells to write into gunicorn.conf.py."""

from context_async_sqlalchemy_prometheus.multiprocess import child_exit, on_starting

__all__ = ["child_exit", "on_starting"]
