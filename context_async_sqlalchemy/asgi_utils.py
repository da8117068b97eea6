"""The published import path of the ASGI middleware. The ``asgi`` adapter defines the middleware."""

from typing import Any

from ._plugins import published_name

__all__ = [
    "ASGIHTTPDBSessionMiddleware",
]

ASGIHTTPDBSessionMiddleware: Any


def __getattr__(name: str) -> Any:
    return published_name(__name__, __all__, name)
