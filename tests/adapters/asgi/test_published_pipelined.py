"""Middlewares of the published library's kinds, when the server pipelines requests."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from context_async_sqlalchemy import (
    ASGIHTTPDBSessionMiddleware,
    DBConnect,
    auto_commit_by_status_code,
    db_context,
    db_session,
    init_db_session_ctx,
    reset_db_session_ctx,
    rollback_all_sessions,
)
from context_async_sqlalchemy.starlette_utils import (
    StarletteHTTPDBSessionMiddleware,
    starlette_http_db_session_middleware,
)
from context_async_sqlalchemy_asgi.protocol import ASGIApp, Receive, Scope, Send
from tests.conformance.service import REQUEST
from tests.conformance.statements import write
from tests.support.asgi_servers import Serve, under_uvicorn
from tests.support.connections import in_use
from tests.support.database import Database
from tests.support.waiting import until


async def _by_hand(request: Request, call_next: Callable[[Request], Any]) -> Response:
    """Handle a request in a context, as the published documentation shows for a framework of one's own."""
    token = init_db_session_ctx()
    try:
        try:
            response: Response = await call_next(request)
        except Exception:
            await rollback_all_sessions()
            raise
        await auto_commit_by_status_code(response.status_code)
        return response
    finally:
        await reset_db_session_ctx(token)


class _OwnASGIMiddleware:
    """The same as plain ASGI, which sends the response within the context; see the docs on pipelining."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def watch(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        token = init_db_session_ctx(force=True)
        try:
            await self._app(scope, receive, watch)
            await auto_commit_by_status_code(status)
        finally:
            await reset_db_session_ctx(token)


_MIDDLEWARES = {
    "ASGIHTTPDBSessionMiddleware": Middleware(ASGIHTTPDBSessionMiddleware),
    "StarletteHTTPDBSessionMiddleware": Middleware(StarletteHTTPDBSessionMiddleware),
    "the function": Middleware(BaseHTTPMiddleware, dispatch=starlette_http_db_session_middleware),
    "by hand": Middleware(BaseHTTPMiddleware, dispatch=_by_hand),
    "by hand on ASGI": Middleware(_OwnASGIMiddleware),
}


@pytest.mark.parametrize("serve", [under_uvicorn, partial(under_uvicorn, http="h11")], ids=["httptools", "h11"])
@pytest.mark.parametrize("opens", [False, True], ids=["alone", "with a context open at its end"])
@pytest.mark.parametrize("middleware", _MIDDLEWARES.values(), ids=_MIDDLEWARES)
async def test_a_pipelined_request_gets_a_session_of_its_own(
    serve: Serve, connection: DBConnect, database: Database, middleware: Middleware, opens: bool
) -> None:
    may_end = asyncio.Event()
    seen: list[AsyncSession] = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("first")(scope, receive, send)
        await may_end.wait()

    async def answer_within_a_context(scope: Scope, receive: Receive, send: Send) -> None:
        async with db_context():
            await answer(scope, receive, send)

    async def endpoint(_request: Request) -> Any:
        seen.append(await db_session(connection))
        if len(seen) > 1:
            await write(connection, "by the second")
            return PlainTextResponse("second", 409)
        await write(connection, "by the first")
        return answer_within_a_context if opens else answer

    app = Starlette(middleware=[middleware])
    app.add_route("/", endpoint)
    async with serve(app, 5) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST + REQUEST)
        await asyncio.wait_for(reader.readuntil(b"first"), 5)
        await until(lambda: len(seen) == 2 or may_end.is_set(), "the second request is handled meanwhile")
        may_end.set()
        await asyncio.wait_for(reader.readuntil(b"second"), 5)
        writer.close()
        await until(lambda: in_use(connection) == 0, "the connections are back")
    assert seen[0] is not seen[1]
    assert await database.notes() == ["by the first"]
