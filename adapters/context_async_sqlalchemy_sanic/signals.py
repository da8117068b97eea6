"""The signal handlers of an application, which end the contexts of its requests.

An ordinary request calls ``finish`` and no other handler. No handler opens contexts, because each signal that has a
handler costs every request time. The first use of the database opens the context.
"""

import logging
from typing import Any

from sanic import SanicException
from sanic.response import BaseHTTPResponse

from context_async_sqlalchemy.adapter_kit import (
    Context,
    context_or_none,
    finish,
    finish_by_status,
    make_current,
    release_by_status,
    without_statements,
)

from .request_context import RequestContexts
from .requests import AnyRequest, cut_connection, headers_are_out, is_streaming

logger = logging.getLogger("context_async_sqlalchemy")

_FIRST_ERROR_STATUS = 400


class RequestSignals:
    """The signal handlers of one application.

    Args:
        contexts: the contexts of the application's requests.

    """

    def __init__(self, contexts: RequestContexts) -> None:
        self._contexts = contexts

    async def open_early(self, _request: AnyRequest) -> None:
        """Open the request's context in the request's task, unless a context is open there.

        This is a request middleware for ASGI servers. A child task cannot find the task of such a request.
        """
        context_or_none()

    async def fail(self, request: AnyRequest, exception: Exception, **_: Any) -> None:
        """Roll back after an exception, so that the error handler finds a clean session.

        Nothing of the request is committed after that. An exception with a status below 400 is a response, which
        ``finish`` handles.
        """
        if headers_are_out(request):
            await self._fail_after_headers(request, exception)
            return
        context = self._context_at_failure(request)
        if context is None or not context.is_open or _is_success(exception):
            return
        context.rollback_only = True
        if context.sessions:
            # The response is near, so this is the end for observers, and no early release.
            await release_by_status(context, 500, "end")

    async def _fail_after_headers(self, request: AnyRequest, exception: Exception) -> None:
        """End the context, because no signal follows; cut the stream, because Sanic ends its body as if complete.

        The context may have no open transaction: its work may have been lost in ``atomic_db_session``, or in a
        ``db_context``. A stream that has never used the database has no context, and is left to Sanic.
        """
        context = self._contexts.get(request)
        if context is None or not context.is_open:
            return
        stream: Any = request.stream
        if _is_success(exception):
            await self.finish(request, stream.response)
            return
        loses_work = is_streaming(request) or bool(context.transactions())
        try:
            await finish(context, commit=False)
        finally:
            if loses_work:
                cut_connection(request)

    async def finish(self, request: AnyRequest, response: BaseHTTPResponse, **_: Any) -> None:
        """End the context after all middleware and before an ordinary response is sent.

        A commit that fails here is a 500.
        """
        context = self._contexts.get_or_end(request)
        if not context.sessions:
            if context.is_open:
                context.end()
            return
        try:
            await finish_by_status(context, response.status)
        except Exception as error:
            if not headers_are_out(request) or not cut_connection(request):
                raise
            logger.error(  # noqa: TRY400 - its exc_info would have SQL and bound values
                "a commit at the end of a stream failed: its connection to the client is cut",
                exc_info=without_statements(error),
            )

    async def finish_websocket(self, request: AnyRequest, **_: Any) -> None:
        """Commit when a websocket handler has returned; otherwise the end of its task rolls back."""
        await finish(self._contexts.get_or_end(request), commit=True)

    def _context_at_failure(self, request: AnyRequest) -> Context | None:
        """Return the request's context, and let an error handler use it too."""
        context = self._contexts.get(request)
        if context is None:
            current = context_or_none()
            if current is None or not current.is_open:
                # Sanic makes a request to answer bytes that it cannot parse, and does not make that request the
                # current one. So the context becomes current here. Sanic closes the connection after the answer.
                make_current(self._contexts.get_or_open(request))
            # The result is None if a test has opened a context in the request's task. That context is left alone.
            context = self._contexts.get(request)
        return context


def _is_success(exception: Exception) -> bool:
    return isinstance(exception, SanicException) and exception.status_code < _FIRST_ERROR_STATUS
