"""The context of a Sanic request: made at its first use, found by the request, ended by signals.

All requests of a connection are handled in one task, so a ContextVar of ours would carry one request's context into
the next. Sanic has the current request in a ContextVar itself; the request is what contexts are kept by.

No signal is sent for every end of a request: a stream or a websocket that is cancelled, a forced shutdown and an ASGI
server's cancellation end without one (sanic 25.12, see ``Sanic.handle_request`` and
``HttpProtocol.connection_task``). There the end of the task ends the context.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import ref

from sanic import Request
from sanic.exceptions import ServerError
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy.adapter_kit import Context, Database, Lifecycle, finish, release_by_status

from .requests import AnyRequest, RequestTask, before_headers, headers_are_out, task_of

_WEBSOCKET_SCHEMES = ("ws", "wss")


class RequestContext(Context):
    """A context that releases its connections before the headers of its request's response are sent.

    Args:
        lifecycle: how it ends.
        request: what it is opened for.
        task: what handles the request; when it ends, the context does so too, if it has not before.

    """

    __slots__ = ("_task",)

    def __init__(self, lifecycle: Lifecycle, request: AnyRequest, task: RequestTask) -> None:
        super().__init__(lifecycle, None, request)
        self._task: RequestTask | None = task
        task.add_done_callback(self._end_with_the_task)

    @property
    def response_has_begun(self) -> bool:
        """Whether a part of the response has been sent; the handler of a websocket runs after the handshake."""
        request: Any = self.owner
        return request is not None and (headers_are_out(request) or request.scheme in _WEBSOCKET_SCHEMES)

    def put(self, connect: Database, session: AsyncSession) -> None:
        """Take a session over; with the first one, watch for the headers."""
        request: Any = self.owner
        if not self.sessions and request is not None:
            before_headers(request.stream, release_by_status, self)
        super().put(connect, session)

    def end(self) -> None:
        """End, and do not wait for the task any more."""
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
    """The contexts of one application's requests, for as long as a request is referred to.

    Args:
        lifecycle: how they end.

    """

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        # As a WeakKeyDictionary, whose methods cost more than twice as much; every request passes through `get_or_end`.
        self._contexts: dict[ref[AnyRequest], Context] = {}
        self._forget: Callable[[ref[AnyRequest]], object] = self._contexts.pop
        # What a task finds that outlives a request without a context.
        self._ended = Context(lifecycle)
        self._ended.end()

    def __len__(self) -> int:
        return len(self._contexts)

    def get(self, request: AnyRequest) -> Context | None:
        """Return the context of a request, open or ended, if it has one."""
        return self._contexts.get(ref(request))

    def get_or_open(self, request: AnyRequest) -> Context:
        """Return the context of a request, open or ended; open one if it has none."""
        context = self._contexts.get(ref(request))
        if context is None:
            task = task_of(request)
            context = self._ended if task is None else RequestContext(self._lifecycle, request, task)
            self._contexts[ref(request, self._forget)] = context
        return context

    def get_or_end(self, request: AnyRequest) -> Context:
        """Return the context of a request, open or ended; it gets no other if it has none."""
        return self._contexts.setdefault(ref(request, self._forget), self._ended)


def find_context_of_request() -> Context | None:
    """Return the context, open or ended, of the request that Sanic is handling here, or None outside of any."""
    try:
        request: AnyRequest = Request.get_current()
    except ServerError:
        return None
    contexts = getattr(request.app.ctx, "db_contexts", None)
    return contexts.get_or_open(request) if isinstance(contexts, RequestContexts) else None
