"""The published import path of the names for Starlette. The ``asgi`` adapter defines the names."""

from typing import Any

from ._plugins import published_name

__all__ = [
    "StarletteHTTPDBSessionMiddleware",
    "add_starlette_http_db_session_middleware",
    "starlette_http_db_session_middleware",
]

StarletteHTTPDBSessionMiddleware: Any
add_starlette_http_db_session_middleware: Any
starlette_http_db_session_middleware: Any


def __getattr__(name: str) -> Any:
    return published_name(__name__, __all__, name)
