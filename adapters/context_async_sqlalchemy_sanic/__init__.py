"""The Sanic adapter: a database context around each request of a ``Sanic`` application."""

from .application import setup_db

__all__ = ["setup_db"]
