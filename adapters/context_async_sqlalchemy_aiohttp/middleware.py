"""The two hooks around an aiohttp request: the middleware, and the signal before the headers are written."""

from collections.abc import Awaitable
from typing import cast

from aiohttp import web
from aiohttp.http import StreamWriter
from aiohttp.typedefs import Handler, Middleware

from context_async_sqlalchemy.adapter_kit import (
    Context,
    Rules,
    current,
    finish,
    finish_by_status,
    release_by_status,
)

from .request_context import RequestContext, find_request_context


def db_context_middleware(rules: Rules) -> Middleware:
    """Return the middleware that opens a context for each request, and ends the context.

    aiohttp writes an ordinary response after all middlewares have returned. So a commit that fails here is a 500.
    """

    @web.middleware
    async def db_context(request: web.Request, handler: Handler) -> web.StreamResponse:
        parent = current.get()
        if parent is not None and find_request_context(request, parent) is not None:
            # The middleware of a parent application has opened the request's context.
            return await handler(request)
        context = RequestContext(rules, parent, request)
        # The variable is never reset, because aiohttp runs each request in a separate task. A task that outlives the
        # request finds the ended context, and gets an error that says so.
        current.set(context)
        try:
            response = await handler(request)
        except web.HTTPException as answer:
            try:
                await finish_by_status(context, answer.status)
            except BaseException:
                _cut_if_partly_sent(request)
                raise
            raise
        except BaseException:
            await finish(context, commit=False)
            raise
        if not context.sessions:
            context.end()
            return response
        try:
            # A handler may return None, which aiohttp refuses later.
            await finish_by_status(context, getattr(response, "status", 500))
        except BaseException:
            _cut_if_partly_sent(request)
            raise
        return response

    return db_context


class _AlreadyDone:
    __await__ = ().__iter__


# aiohttp awaits every receiver for every response. To await this object calls no Python code, so it costs less than a
# coroutine that does nothing.
_ALREADY_DONE = cast("Awaitable[None]", _AlreadyDone())


def release_before_headers(request: web.Request, response: web.StreamResponse) -> Awaitable[None]:
    """Commit or roll back before the headers of a stream or a websocket are written.

    This is a receiver of the signal ``on_response_prepare``. For an ordinary response the context has ended before
    the signal, so nothing is left to do.
    """
    context = current.get()
    if context is None or not context.is_open:
        return _ALREADY_DONE
    context = find_request_context(request, context)
    if context is None or not context.sessions:
        return _ALREADY_DONE
    return _release(context, request, response)


async def _release(context: Context, request: web.Request, response: web.StreamResponse) -> None:
    try:
        await release_by_status(context, response.status)
    except BaseException:
        _forget_body_encoding(request)
        raise


def _forget_body_encoding(request: web.Request) -> None:
    """Reset the encoding of the body in the request's writer.

    ``StreamResponse._prepare_headers`` has enabled chunking and compression before the signal is sent (aiohttp 3.14,
    web_response.py). The 500 that replaces the response uses the same writer, but its headers name no encoding.
    """
    writer = request.writer
    if isinstance(writer, StreamWriter):
        writer.chunked = False
        writer.length = None
        writer._compress = None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _cut_if_partly_sent(request: web.Request) -> None:
    """Cut the connection to the client if a part of the response has been sent.

    Otherwise the client would treat the response as complete. A middleware outside that maps errors to responses
    would even write a second status line into the body (aio-libs/aiohttp#13654).
    """
    if request.writer.output_size > 0 and request.transport is not None:
        request.transport.abort()
