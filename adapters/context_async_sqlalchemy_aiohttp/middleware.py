"""The two hooks around an aiohttp request: the middleware, and the signal before the headers are written."""

from typing import Any

from aiohttp import web
from aiohttp.http import StreamWriter
from aiohttp.typedefs import Handler, Middleware

from context_async_sqlalchemy import PoolOverloadedError
from context_async_sqlalchemy.adapter_kit import (
    TRY_AGAIN_LATER,
    Lifecycle,
    current,
    finish,
    finish_by_status,
    overload_answer,
    release_by_status,
)

from .request_context import RequestContext, find_request_context
from .streams import cut_if_partly_sent, release_before_last_piece


def db_context_middleware(lifecycle: Lifecycle, *, is_outermost: bool) -> Middleware:
    """Return the middleware that opens a context for each request, and ends the context.

    aiohttp writes an ordinary response after all middlewares have returned. So a commit that fails here is a 500.

    Args:
        lifecycle: the rules by which the contexts end.
        is_outermost: whether to answer a shed request here. Otherwise its exception is for the middlewares outside.

    """

    @web.middleware
    async def db_context(request: web.Request, handler: Handler) -> web.StreamResponse:
        parent = current.get()
        if parent is not None and find_request_context(request, parent) is not None:
            # The middleware of a parent application has opened the request's context.
            return await handler(request)
        context = RequestContext(lifecycle, parent, request)
        # The variable is never reset, because aiohttp runs each request in a separate task. A task that outlives the
        # request finds the ended context, and gets an error that says so.
        current.set(context)
        try:
            response = await handler(request)
        except BaseException as error:
            try:
                await _finish_after(error, context)
                answer = await _answer_overload(error, context, lifecycle, is_outermost=is_outermost)
                if answer is not None:
                    return answer
            finally:
                # After the headers, neither this exception nor a response to it can reach the client.
                cut_if_partly_sent(request)
            raise
        # A handler may return None, which aiohttp refuses later.
        if context.is_streaming and not getattr(response, "prepared", True):
            # A middleware has mapped an exception to a response, or the handler has returned another response.
            cut_if_partly_sent(request)
        if not context.sessions:
            context.end()
            return response
        try:
            await finish_by_status(context, getattr(response, "status", 500))
        except BaseException as error:
            # The flush may need a connection.
            answer = await _answer_overload(error, context, lifecycle, is_outermost=is_outermost)
            if answer is None:
                cut_if_partly_sent(request)
                raise
            return answer
        return response

    return db_context


async def _finish_after(error: BaseException, context: RequestContext) -> None:
    if isinstance(error, web.HTTPException):
        await finish_by_status(context, error.status)
    else:
        await finish(context, commit=False)


def overload_middleware() -> Middleware:
    """Return the middleware that answers a shed request, if no middleware inside has answered."""

    @web.middleware
    async def answer_overload(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except PoolOverloadedError as error:
            if request.writer.output_size > 0:
                raise
            return _unavailable(error)

    return answer_overload


async def _answer_overload(
    error: BaseException, context: RequestContext, lifecycle: Lifecycle, *, is_outermost: bool
) -> web.StreamResponse | None:
    """Return a 503 for a shed request, or the websocket closed by 1013.

    Return None for another error, if a part of a stream has been sent, and if a middleware outside may answer.
    """
    if not isinstance(error, PoolOverloadedError) or not lifecycle.answer_503:
        return None
    if context.is_streaming:
        stream: Any = context.stream
        if not isinstance(stream, web.WebSocketResponse):
            return None
        await stream.close(code=TRY_AGAIN_LATER)
        return context.stream
    return _unavailable(error) if is_outermost else None


def _unavailable(error: PoolOverloadedError) -> web.Response:
    answer = overload_answer(error)
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


async def release_before_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Commit or roll back before the headers of a stream or a websocket are written.

    This is a receiver of the signal ``on_response_prepare``. For an ordinary response the context has ended before
    the signal, so nothing is left to do.
    """
    current_context = current.get()
    if current_context is None or not current_context.is_open:
        return
    context = find_request_context(request, current_context)
    if context is None:
        return
    context.is_streaming = True
    context.stream = response
    release_before_last_piece(context, request, response)
    try:
        await release_by_status(context, response.status)
    except BaseException:
        context.is_streaming = False
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
