"""The aiohttp adapter: a database context around each request of a ``web.Application``."""

from .application import LIFECYCLE, setup_db
from .middleware import DB_CONTEXT

__all__ = ["DB_CONTEXT", "LIFECYCLE", "setup_db"]
