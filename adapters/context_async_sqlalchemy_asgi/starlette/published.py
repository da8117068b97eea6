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
    Rules,
    finish,
    finish_by_status,
    kind_of,
    leave_context,
    open_context,
)
from context_async_sqlalchemy_asgi.middleware import ASGIHTTPDBSessionMiddleware
from context_async_sqlalchemy_asgi.protocol import ASGIApp


class StarletteHTTPDBSessionMiddleware(ASGIHTTPDBSessionMiddleware):
    """``ASGIHTTPDBSessionMiddleware`` by its published name for Starlette.

    In the published library this class is a BaseHTTPMiddleware. Here it is not.

    Args:
        app: the application, or the next middleware inside.
        dispatch: a function for a BaseHTTPMiddleware, which is put inside this middleware.
        before_commit: awaited with the session before each commit; an exception prevents the commit.

    Raises:
        TypeError: an argument is not a function.

    """

    def __init__(
        self,
        app: ASGIApp,
        dispatch: DispatchFunction | None = None,
        before_commit: BeforeCommitCallback | None = None,
    ) -> None:
        _check_dispatch(dispatch)
        inside: ASGIApp = app if dispatch is None else BaseHTTPMiddleware(app, dispatch)
        super().__init__(inside, before_commit)


def add_starlette_http_db_session_middleware(app: Starlette, before_commit: BeforeCommitCallback | None = None) -> None:
    """Add the middleware to an application; unlike ``setup_db``, do not dispose of engines.

    Args:
        app: the application, before it starts.
        before_commit: awaited with the session before each commit; an exception prevents the commit.

    Raises:
        TypeError: ``app`` is not a Starlette, or ``before_commit`` is not a function.

    """
    _require_starlette(app)
    # It refuses a wrong hook, and Starlette makes the middleware only at the start.
    Rules(before_commit=before_commit)
    app.add_middleware(StarletteHTTPDBSessionMiddleware, before_commit=before_commit)


async def starlette_http_db_session_middleware(
    request: Request, call_next: RequestResponseEndpoint, before_commit: BeforeCommitCallback | None = None
) -> Response:
    """Handle a request in a context: a function for ``BaseHTTPMiddleware`` or ``app.middleware("http")``.

    The context ends before the response begins, so a stream or a background task finds an ended context. The class
    ``StarletteHTTPDBSessionMiddleware`` serves both.

    Args:
        request: the request.
        call_next: handles the request.
        before_commit: awaited with the session before each commit; an exception prevents the commit.

    Raises:
        Exception: the exception of the handler, or of the commit.

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


def _check_dispatch(given: object) -> None:
    if given is not None and not callable(given):
        raise TypeError(f"dispatch is an async function of a request and call_next: got {kind_of(given)}")


def _require_starlette(app: object) -> None:
    if not isinstance(app, Starlette):
        raise TypeError(f"the middleware is added to a Starlette or FastAPI application, got {kind_of(app)}")


@cache
def _lifecycle(before_commit: BeforeCommitCallback | None) -> Lifecycle:
    return Lifecycle(before_commit=before_commit, tracks_contexts=False)


add_fastapi_http_db_session_middleware = add_starlette_http_db_session_middleware
fastapi_http_db_session_middleware = starlette_http_db_session_middleware
