"""The aiohttp adapter: a database context around each request of a ``web.Application``."""

from .setup import LIFECYCLE, setup_db

__all__ = ["LIFECYCLE", "setup_db"]
