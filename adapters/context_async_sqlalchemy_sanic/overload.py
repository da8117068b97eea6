"""The answer to a shed request or websocket."""

from typing import Any

from sanic.response import HTTPResponse, raw

from context_async_sqlalchemy import PoolOverloadedError
from context_async_sqlalchemy.adapter_kit import TRY_AGAIN_LATER, overload_answer

from .requests import AnyRequest


def answer_overload(_request: AnyRequest, error: PoolOverloadedError) -> HTTPResponse:
    """Return a 503. This is an error handler of Sanic's."""
    answer = overload_answer(error)
    return raw(answer.body, answer.status, answer.headers)


async def close_shed_websocket(websocket: Any, exception: Exception, **_: Any) -> None:
    """Close the websocket of a shed handler, so that the client tries again later. This is a signal handler."""
    if isinstance(exception, PoolOverloadedError):
        await websocket.close(TRY_AGAIN_LATER)
