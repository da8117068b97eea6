"""The published import path of the functions for FastAPI. The ``asgi`` adapter defines the functions."""

from typing import Any

from ._plugins import published_name

__all__ = [
    "add_fastapi_http_db_session_middleware",
    "fastapi_http_db_session_middleware",
]

add_fastapi_http_db_session_middleware: Any
fastapi_http_db_session_middleware: Any


def __getattr__(name: str) -> Any:
    return published_name(__name__, __all__, name)
