"""Starlette and FastAPI: ``setup_db``, and the published library's functions."""

from .setup import setup_db

__all__ = ["setup_db"]
