"""The answer to a shed request or websocket."""

from typing import Any

from sanic.response import raw

from context_async_sqlalchemy import PoolOverloadedError
from context_async_sqlalchemy.adapter_kit import TRY_AGAIN_LATER, overload_answer

from .requests import AnyRequest


def answer_overload(request: AnyRequest, error: PoolOverloadedError) -> Any:
    """Return a 503, or the answer of the application's handler for a base class. This is an error handler of Sanic's.

    Sanic takes a handler of the exact class first, even if a blueprint has one for a base class.
    """
    handlers = request.app.error_handler.cached_handlers
    names = (None if request.route is None else request.route.name, None)
    for kind in PoolOverloadedError.__mro__[1:]:
        for name in names:
            own: Any = handlers.get((kind, name))
            if own is not None:
                return own(request, error)
    answer = overload_answer(error)
    return raw(answer.body, answer.status, answer.headers)


async def close_shed_websocket(websocket: Any, exception: Exception, **_: Any) -> None:
    """Close the websocket of a shed handler, so that the client tries again later. This is a signal handler."""
    if isinstance(exception, PoolOverloadedError):
        await websocket.close(TRY_AGAIN_LATER)
