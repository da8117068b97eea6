"""The context of a Sanic request: opened at its first use, found by the request, ended by signals.

Sanic handles all requests of a connection in one task. A ContextVar for contexts would carry the context of one
request into the next. Sanic keeps the current request in a ContextVar, so contexts are found by their request.

Sanic sends no signal if a stream or a websocket is cancelled, if a shutdown is forced, or if an ASGI server cancels
the request (sanic 25.12, ``Sanic.handle_request`` and ``HttpProtocol.connection_task``). In these cases the end of the
task ends the context.
"""

import asyncio
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from sanic import Request
from sanic.exceptions import ServerError
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy.adapter_kit import Context, Database, Rules, finish, release_by_status

from .requests import AnyRequest, RequestTask, before_headers_and_end, headers_are_out, task_of

_WEBSOCKET_SCHEMES = ("ws", "wss")


class RequestContext(Context):
    """A context that releases its connections before the headers of a response are sent, and before its end.

    Args:
        rules: the rules by which the context ends.
        request: the request, which owns the context.
        task: the task that handles the request. If the context is still open when the task ends, it is rolled back.

    """

    def __init__(self, rules: Rules, request: AnyRequest, task: RequestTask) -> None:
        super().__init__(rules, None, request)
        self._task: RequestTask | None = task
        task.add_done_callback(self._end_with_the_task)

    @property
    def response_has_begun(self) -> bool:
        """Whether a part of the response has been sent; always true in the handler of a websocket."""
        request: Any = self.owner
        return request is not None and (headers_are_out(request) or request.scheme in _WEBSOCKET_SCHEMES)

    def put(self, connect: Database, session: AsyncSession) -> None:
        """Add a session; the first session makes the context wait for the headers and the end of the response."""
        request: Any = self.owner
        if not self.sessions and request is not None:
            before_headers_and_end(request.stream, partial(release_by_status, self))
        super().put(connect, session)

    def end(self) -> None:
        """End the context, which then no longer waits for the end of the task."""
        super().end()
        if self._task is not None:
            self._task.remove_done_callback(self._end_with_the_task)
            self._task = None

    def _end_with_the_task(self, _task: RequestTask) -> None:
        if self.is_open:
            cleanup = asyncio.ensure_future(finish(self, commit=False))
            _cleanups.add(cleanup)
            cleanup.add_done_callback(_cleanups.discard)


_cleanups: set[asyncio.Task[None]] = set()


class RequestContexts:
    """The contexts of one application's requests, each kept as long as its request exists.

    Args:
        rules: the rules by which the contexts end.

    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._contexts: WeakKeyDictionary[AnyRequest, Context] = WeakKeyDictionary()
        # A task that outlives its request finds this context if the request has never used the database.
        self._ended = Context(rules)
        self._ended.end()

    def __len__(self) -> int:
        return len(self._contexts)

    def get(self, request: AnyRequest) -> Context | None:
        """Return the context of a request, open or ended, or None if the request has no context."""
        return self._contexts.get(request)

    def get_or_open(self, request: AnyRequest) -> Context:
        """Return the context of a request, open or ended; if the request has no context, open one."""
        context = self._contexts.get(request)
        if context is None:
            task = task_of(request)
            context = self._ended if task is None else RequestContext(self._rules, request, task)
            self._contexts[request] = context
        return context

    def get_or_end(self, request: AnyRequest) -> Context:
        """Return the context of a request, open or ended; if the request has no context, it never gets one."""
        return self._contexts.setdefault(request, self._ended)


def find_context_of_request() -> Context | None:
    """Return the context, open or ended, of the current request, or None outside of requests."""
    try:
        request: AnyRequest = Request.get_current()
    except ServerError:
        return None
    contexts = getattr(request.app.ctx, "db_contexts", None)
    return contexts.get_or_open(request) if isinstance(contexts, RequestContexts) else None
