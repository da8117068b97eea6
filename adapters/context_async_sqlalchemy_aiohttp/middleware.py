"""The two hooks around an aiohttp request: the middleware, and the signal before headers are written."""

from collections.abc import Awaitable
from typing import cast

from aiohttp import web
from aiohttp.http import StreamWriter
from aiohttp.typedefs import Handler, Middleware

from context_async_sqlalchemy.adapter_kit import (
    Context,
    Lifecycle,
    current,
    finish,
    finish_by_status,
    release_by_status,
)

from .request_context import RequestContext, find_request_context


def db_context_middleware(lifecycle: Lifecycle) -> Middleware:
    """Make the middleware that opens a context for each request and ends it before an ordinary response is sent.

    An ordinary response is written after all middlewares have returned, so a commit that fails here is a 500.
    """

    @web.middleware
    async def db_context(request: web.Request, handler: Handler) -> web.StreamResponse:
        parent = current.get()
        if parent is not None and find_request_context(request, parent) is not None:
            # A parent application's.
            return await handler(request)
        context = RequestContext(lifecycle, parent, request)
        # Never reset: aiohttp runs each request in a task, so in a contextvars.Context, of its own, and what outlives
        # the request finds the ended context, and is told so.
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
            # A handler that returned None is told so by aiohttp, later.
            await finish_by_status(context, getattr(response, "status", 500))
        except BaseException:
            _cut_if_partly_sent(request)
            raise
        return response

    return db_context


class _AlreadyDone:
    __await__ = ().__iter__


# aiohttp awaits every receiver for every response, so awaiting this must cost less than a coroutine that does nothing.
_ALREADY_DONE = cast("Awaitable[None]", _AlreadyDone())


def release_before_headers(request: web.Request, response: web.StreamResponse) -> Awaitable[None]:
    """Commit or roll back before the headers of a stream or a websocket are written: an on_response_prepare signal.

    For an ordinary response the context has ended by now, and there is nothing to do.
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
    """Undo what the prepared response told the request's one writer.

    ``StreamResponse._prepare_headers`` has enabled chunking and compression by the time the signal is sent
    (aiohttp 3.14, web_response.py); the 500 that answers in its place would be encoded so against its headers.
    """
    writer = request.writer
    if isinstance(writer, StreamWriter):
        writer.chunked = False
        writer.length = None
        writer._compress = None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _cut_if_partly_sent(request: web.Request) -> None:
    """Cut the connection if the end of a context has failed when a part of the response is out.

    The client must not take the response for complete, and an error-mapping middleware outside of ours would
    write a second status line into the body (aio-libs/aiohttp#13654).
    """
    if request.writer.output_size > 0 and request.transport is not None:
        request.transport.abort()
