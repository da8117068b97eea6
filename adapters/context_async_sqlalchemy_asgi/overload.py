"""The answer to a shed request or websocket, where the application has not answered."""

from contextlib import suppress

from context_async_sqlalchemy import PoolOverloadedError
from context_async_sqlalchemy.adapter_kit import TRY_AGAIN_LATER, overload_answer

from .protocol import Scope, Send
from .request_context import RequestContext, WebSocketContext


async def answer_overload(error: PoolOverloadedError, context: RequestContext, scope: Scope, send: Send) -> bool:
    """Send a 503, or refuse or close the websocket; return False if a part of another response has been sent.

    Args:
        error: the exception that has left the application.
        context: the context of the request. It has ended.
        scope: the request.
        send: sends a message to the server.

    """
    if context.is_started:
        if isinstance(context, WebSocketContext):
            # The handler or the client may have closed the websocket before. Then nobody is left to tell.
            with suppress(Exception):
                await close_websocket(send)
            return True
        return False
    prefix = "http"
    if isinstance(context, WebSocketContext):
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            # The server refuses the handshake by a 403.
            await close_websocket(send)
            return True
        prefix = "websocket.http"
    answer = overload_answer(error)
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    headers.append((b"content-length", b"%d" % len(answer.body)))
    body = b"" if scope.get("method") == "HEAD" else answer.body
    await send({"type": f"{prefix}.response.start", "status": answer.status, "headers": headers})
    await send({"type": f"{prefix}.response.body", "body": body, "more_body": False})
    return True


async def close_websocket(send: Send) -> None:
    """Close a websocket, so that the client tries again later."""
    await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "overloaded"})
