"""The published library's functions for Starlette and FastAPI."""

from functools import cache

from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, DispatchFunction, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response

from context_async_sqlalchemy import is_context_initiated
from context_async_sqlalchemy.adapter_kit import (
    BeforeCommitCallback,
    Lifecycle,
    finish,
    finish_by_status,
    leave_context,
    open_context,
)
from context_async_sqlalchemy_asgi.middleware import ASGIHTTPDBSessionMiddleware
from context_async_sqlalchemy_asgi.protocol import ASGIApp


class StarletteHTTPDBSessionMiddleware(ASGIHTTPDBSessionMiddleware):
    """``ASGIHTTPDBSessionMiddleware`` by its published name for Starlette; no BaseHTTPMiddleware any more.

    Args:
        app: the application, or the middleware inside of this one.
        dispatch: a function for a BaseHTTPMiddleware inside of this one.
        before_commit: awaited with the session before each commit; an exception prevents the commit.

    """

    def __init__(
        self,
        app: ASGIApp,
        dispatch: DispatchFunction | None = None,
        before_commit: BeforeCommitCallback | None = None,
    ) -> None:
        inside: ASGIApp = app if dispatch is None else BaseHTTPMiddleware(app, dispatch)
        super().__init__(inside, before_commit)


def add_starlette_http_db_session_middleware(app: Starlette, before_commit: BeforeCommitCallback | None = None) -> None:
    """Add the middleware to an application; ``setup_db`` also disposes of its connections.

    Args:
        app: the application, before it starts.
        before_commit: awaited with the session before each commit; an exception prevents the commit.

    """
    app.add_middleware(StarletteHTTPDBSessionMiddleware, before_commit=before_commit)


async def starlette_http_db_session_middleware(
    request: Request, call_next: RequestResponseEndpoint, before_commit: BeforeCommitCallback | None = None
) -> Response:
    """Handle a request in a context, as a function for ``BaseHTTPMiddleware`` or ``app.middleware("http")``.

    The context ends before the response begins: a stream or a background task finds it ended. The class is better.

    Args:
        request: the request.
        call_next: handles it.
        before_commit: awaited with the session before each commit; an exception prevents the commit.

    Raises:
        Exception: what handling the request raised, or the commit.

    """
    if is_context_initiated():
        return await call_next(request)
    context, token = open_context(_lifecycle(before_commit))
    try:
        try:
            response = await call_next(request)
        except BaseException:
            await finish(context, commit=False)
            raise
        await finish_by_status(context, response.status_code)
    finally:
        leave_context(token)
    return response


@cache
def _lifecycle(before_commit: BeforeCommitCallback | None) -> Lifecycle:
    return Lifecycle(before_commit=before_commit, tracks_contexts=False)


add_fastapi_http_db_session_middleware = add_starlette_http_db_session_middleware
fastapi_http_db_session_middleware = starlette_http_db_session_middleware
