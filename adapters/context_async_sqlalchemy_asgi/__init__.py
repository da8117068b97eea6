"""The ASGI adapter: a database context around each request of any ASGI application."""

from .middleware import ASGIHTTPDBSessionMiddleware, DBContextMiddleware

__all__ = ["ASGIHTTPDBSessionMiddleware", "DBContextMiddleware"]
