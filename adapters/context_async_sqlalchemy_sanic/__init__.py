"""The Sanic adapter: a database context around each request of a ``Sanic`` application."""

from .sanic_ext import session_of
from .setup import setup_db

__all__ = ["session_of", "setup_db"]
