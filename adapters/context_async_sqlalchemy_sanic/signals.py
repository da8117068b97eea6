"""The signal handlers of an application: how the contexts of its requests end.

Every ordinary request passes through ``finish`` alone. A signal with a handler costs each request about 8 us, so none
opens a context: that is done by the first use.
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
)

from .request_context import RequestContexts
from .requests import AnyRequest, cut_connection, headers_are_out

logger = logging.getLogger("context_async_sqlalchemy")

_FIRST_ERROR_STATUS = 400


class RequestSignals:
    """The signal handlers of one application.

    Args:
        contexts: of its requests.

    """

    def __init__(self, contexts: RequestContexts) -> None:
        self._contexts = contexts

    async def open_early(self, _request: AnyRequest) -> None:
        """Open the request's context in the task that handles it, unless one is open there: a request middleware.

        For ASGI servers, whose requests have a task that cannot be found from a child task.
        """
        context_or_none()

    async def fail(self, request: AnyRequest, exception: Exception, **_: Any) -> None:
        """Roll back after an exception: the error handler finds a clean session, and nothing is committed any more.

        An answer that is raised with a status that commits is left to ``finish``.
        """
        context = self._context_at_failure(request)
        if context is None or not context.is_open or _is_success(exception):
            return
        context.rollback_only = True
        if not context.sessions:
            return
        if headers_are_out(request):
            # No signal follows. Sanic ends a chunked body as if it were complete, although work of it is lost.
            loses_work = bool(context.transactions())
            await finish(context, commit=False)
            if loses_work:
                cut_connection(request)
        else:
            await release_by_status(context, 500)

    async def finish(self, request: AnyRequest, response: BaseHTTPResponse, **_: Any) -> None:
        """End the context after all middleware, before an ordinary response is sent: a failing commit is a 500."""
        context = self._contexts.get_or_end(request)
        if not context.sessions:
            if context.is_open:
                context.end()
            return
        try:
            await finish_by_status(context, response.status)
        except Exception:
            if not headers_are_out(request) or not cut_connection(request):
                raise
            logger.exception("a commit at the end of a stream failed: its connection to the client is cut")

    async def finish_websocket(self, request: AnyRequest, **_: Any) -> None:
        """Commit what a websocket handler left open when it returned; its task ends the context otherwise."""
        await finish(self._contexts.get_or_end(request), commit=True)

    def _context_at_failure(self, request: AnyRequest) -> Context | None:
        """Return the request's context, which an error handler may be the first to use."""
        context = self._contexts.get(request)
        if context is None:
            current = context_or_none()
            if current is None or not current.is_open:
                # A request that Sanic has made up, to answer what it could not parse, is not its current one. The
                # connection is closed after it.
                make_current(self._contexts.get_or_open(request))
            # None where a test has opened a context in the task of the request: that one is left as it is.
            context = self._contexts.get(request)
        return context


def _is_success(exception: Exception) -> bool:
    return isinstance(exception, SanicException) and exception.status_code < _FIRST_ERROR_STATUS
