"""The Sanic adapter: a database context around each request of a ``Sanic`` application."""

from .application import setup_db
from .injection import session_of

__all__ = ["session_of", "setup_db"]
