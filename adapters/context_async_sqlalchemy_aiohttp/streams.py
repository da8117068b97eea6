"""Streams: the commit before the last piece of a body, and the cut of a stream whose work is lost."""

from typing import Any

from aiohttp import web

from context_async_sqlalchemy.adapter_kit import release_by_status

from .request_context import RequestContext


def release_before_last_piece(context: RequestContext, request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Commit or roll back before a stream sends its last piece, because the client then treats it as complete.

    If that fails, the connection to the client is cut, and the last piece is not sent. A handler that returns its
    stream open needs no such release, because its context has ended when aiohttp sends the last piece.

    Args:
        context: the context of the request.
        request: the request.
        response: the stream, before its headers are sent. Its methods ``write_eof`` and ``write`` are replaced. A
            websocket is left alone.

    """
    if isinstance(response, web.WebSocketResponse):
        return
    write_eof = response.write_eof

    async def release() -> None:
        if not context.sessions:
            return
        try:
            await release_by_status(context, response.status, "end")
        except BaseException:
            cut_if_partly_sent(request)
            raise

    async def release_and_write_eof(*args: Any, **kwargs: Any) -> None:
        await release()
        await write_eof(*args, **kwargs)

    response.write_eof = release_and_write_eof  # type: ignore[method-assign]
    if request.writer.length is None:
        return
    write = response.write

    async def release_and_write(data: bytes | bytearray | memoryview) -> None:
        # A body of known length is complete with its last byte. `length` is the number of bytes that are missing.
        missing = request.writer.length
        if missing is not None and memoryview(data).nbytes >= missing:
            await release()
        await write(data)

    response.write = release_and_write  # type: ignore[method-assign]


def cut_if_partly_sent(request: web.BaseRequest) -> None:
    """Cut the connection to the client if a part of the response has been sent.

    Otherwise the client would treat the response as complete. A middleware that maps errors to responses would even
    write a second status line into the body (aio-libs/aiohttp#13654).
    """
    if request.writer.output_size > 0 and request.transport is not None:
        request.transport.close()
