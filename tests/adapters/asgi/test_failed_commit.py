"""A commit that fails on ASGI: who answers, and what an application can do about it."""

import gc
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import ref

import httpx
import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from context_async_sqlalchemy import ASGIHTTPDBSessionMiddleware, DBConnect, setup_db
from context_async_sqlalchemy.adapter_kit import Context, context_or_none
from context_async_sqlalchemy_asgi.protocol import ASGIApp, Receive, Scope, Send
from tests.conformance.statements import run, write
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, Database

ErrorHandler = Callable[[Request, Exception], Awaitable[Response]]


async def _get(app: Any, path: str = "/") -> tuple[int, str]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.get(path)
        return response.status_code, response.text


def _failing(connection: DBConnect) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_request: Request) -> Response:
        await run(connection, FAILING_COMMIT)
        return PlainTextResponse("never sent")

    return endpoint


def _app(connection: DBConnect, handlers: dict[Any, ErrorHandler] | None = None) -> Starlette:
    app = Starlette(routes=[Route("/", _failing(connection))], exception_handlers=handlers)
    setup_db(app, [connection])
    return app


async def _named(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(type(error).__name__, 409)


async def test_the_handler_of_its_exception_answers(connection: DBConnect, database: Database) -> None:
    assert await _get(_app(connection, {IntegrityError: _named})) == (409, "IntegrityError")
    assert in_use(connection) == 0
    assert await database.notes("unique_notes") == []


@pytest.mark.parametrize("key", [Exception, 500])
async def test_the_handler_of_any_exception_answers(connection: DBConnect, key: Any) -> None:
    assert await _get(_app(connection, {key: _named})) == (409, "IntegrityError")


@pytest.mark.parametrize("status", [200, 409])
async def test_after_a_failed_commit_nothing_is_committed_whatever_the_handler_answers(
    connection: DBConnect, database: Database, status: int
) -> None:
    async def writes(_request: Request, _error: Exception) -> Response:
        await write(connection, "by the handler")
        return PlainTextResponse("answered", status)

    assert await _get(_app(connection, {IntegrityError: writes})) == (status, "answered")
    assert in_use(connection) == 0
    assert await database.notes() == []


async def test_a_handler_that_fails_itself_is_a_500(connection: DBConnect) -> None:
    async def fails(_request: Request, _error: Exception) -> Response:
        raise ZeroDivisionError

    assert await _get(_app(connection, {IntegrityError: fails})) == (500, "Internal Server Error")
    assert in_use(connection) == 0


async def test_a_hook_may_refuse_with_a_status(connection: DBConnect, database: Database) -> None:
    async def refuse(_session: AsyncSession) -> None:
        raise HTTPException(422, "refused by the hook")

    async def endpoint(_request: Request) -> Response:
        await write(connection, "discarded")
        return PlainTextResponse("never sent")

    app = Starlette(routes=[Route("/", endpoint)])
    setup_db(app, [connection], before_commit=refuse)
    assert await _get(app) == (422, "refused by the hook")
    assert await database.notes() == []


async def test_a_mounted_application_leaves_the_answer_to_its_parent(connection: DBConnect) -> None:
    mounted = Starlette(routes=[Route("/", _failing(connection))])
    setup_db(mounted, [])
    app = Starlette(routes=[Mount("/mounted", mounted)], exception_handlers={Exception: _named})
    setup_db(app, [connection])
    assert await _get(app, "/mounted/") == (409, "IntegrityError")


async def _run_raw(app: ASGIApp) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(IntegrityError):
        await app({"type": "http"}, receive, send)
    return sent


async def test_an_application_that_swallows_the_failure_does_not_hide_it(connection: DBConnect) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await run(connection, FAILING_COMMIT)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        except IntegrityError:
            return

    assert await _run_raw(ASGIHTTPDBSessionMiddleware(app)) == []
    assert in_use(connection) == 0


async def test_an_application_that_insists_on_the_end_of_a_cut_stream_is_refused(connection: DBConnect) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"piece", "more_body": True})
        await run(connection, FAILING_COMMIT)
        for _ in range(2):
            try:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except IntegrityError:
                continue

    start, piece, unsendable = await _run_raw(ASGIHTTPDBSessionMiddleware(app))
    assert start["status"] == 200
    assert piece["body"] == b"piece"
    # A BaseHTTPMiddleware outside would otherwise end the body.
    with pytest.raises(IntegrityError):
        bytes(unsendable["body"])
    assert in_use(connection) == 0


async def test_messages_before_the_response_do_not_end_the_transaction(
    connection: DBConnect, database: Database
) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await write(connection, "kept")
        await send({"type": "http.response.early_hint", "links": []})
        assert in_use(connection) == 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(_message: Any) -> None: ...

    await ASGIHTTPDBSessionMiddleware(app)({"type": "http"}, receive, send)
    assert await database.notes() == ["kept"]


class _Local:
    """Something big that a hook has in a local variable."""


async def test_an_ended_context_keeps_no_frame_of_its_failure(connection: DBConnect) -> None:
    contexts: list[Context | None] = []
    locals_of_hooks: list[ref[_Local]] = []

    async def refuse(_session: AsyncSession) -> None:
        local = _Local()
        locals_of_hooks.append(ref(local))
        raise RuntimeError

    async def endpoint(_request: Request) -> Response:
        await write(connection, "discarded")
        # asyncio's transport of a new connection keeps the contextvars, and with them the context.
        contexts.append(context_or_none())
        return PlainTextResponse("never sent")

    app = Starlette(routes=[Route("/", endpoint)])
    setup_db(app, [connection], before_commit=refuse)
    assert await _get(app) == (500, "Internal Server Error")
    gc.collect()
    assert [context is not None and context.has_ended for context in contexts] == [True]
    assert [local() for local in locals_of_hooks] == [None]
