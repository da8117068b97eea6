"""What a project that moves from the published library relies on."""

import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import context_async_sqlalchemy
from context_async_sqlalchemy import (
    ASGIHTTPDBSessionMiddleware,
    ContextNotInitiatedError,
    DBConnect,
    close_db_session,
    db_session,
    init_db_session_ctx,
    is_context_initiated,
    put_db_session_to_context,
    reset_db_session_ctx,
    run_in_new_ctx,
)
from context_async_sqlalchemy.fastapi_utils import add_fastapi_http_db_session_middleware
from context_async_sqlalchemy.starlette_utils import (
    StarletteHTTPDBSessionMiddleware,
    add_starlette_http_db_session_middleware,
    starlette_http_db_session_middleware,
)
from context_async_sqlalchemy.test_utils import put_savepoint_session_in_ctx, rollback_session, set_test_context
from context_async_sqlalchemy_asgi.protocol import Receive, Scope, Send
from tests.conformance.statements import run, write
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, Database

PUBLISHED = {
    "": [
        "ASGIHTTPDBSessionMiddleware",
        "BeforeCommitCallback",
        "ContextAlreadyInitiatedError",
        "ContextNotInitiatedError",
        "DBConnect",
        "atomic_db_session",
        "auto_commit_by_status_code",
        "close_all_sessions",
        "close_db_session",
        "commit_all_sessions",
        "commit_db_session",
        "db_session",
        "get_db_session_from_context",
        "init_db_session_ctx",
        "is_context_initiated",
        "new_non_ctx_atomic_session",
        "new_non_ctx_session",
        "pop_db_session_from_context",
        "put_db_session_to_context",
        "reset_db_session_ctx",
        "rollback_all_sessions",
        "rollback_db_session",
        "run_in_new_ctx",
    ],
    ".asgi_utils": ["ASGIHTTPDBSessionMiddleware"],
    ".auto_commit": [
        "BeforeCommitCallback",
        "auto_commit_by_status_code",
        "close_all_sessions",
        "commit_all_sessions",
        "rollback_all_sessions",
    ],
    ".connect": ["DBConnect", "EngineCreatorFunc", "SessionMakerCreatorFunc"],
    ".context": [
        "ContextAlreadyInitiatedError",
        "ContextNotInitiatedError",
        "get_db_session_from_context",
        "init_db_session_ctx",
        "is_context_initiated",
        "pop_db_session_from_context",
        "put_db_session_to_context",
        "reset_db_session_ctx",
    ],
    ".fastapi_utils": ["add_fastapi_http_db_session_middleware", "fastapi_http_db_session_middleware"],
    ".run_in_new_context": ["run_in_new_ctx"],
    ".session": [
        "atomic_db_session",
        "close_db_session",
        "commit_db_session",
        "db_session",
        "new_non_ctx_atomic_session",
        "new_non_ctx_session",
        "rollback_db_session",
    ],
    ".starlette_utils": [
        "StarletteHTTPDBSessionMiddleware",
        "add_starlette_http_db_session_middleware",
        "starlette_http_db_session_middleware",
    ],
    ".test_utils": ["put_savepoint_session_in_ctx", "rollback_session", "set_test_context"],
}

ADDED: dict[str, Callable[[Any], None]] = {
    "the ASGI middleware": lambda app: app.add_middleware(ASGIHTTPDBSessionMiddleware),
    "the Starlette middleware": lambda app: app.add_middleware(StarletteHTTPDBSessionMiddleware),
    "by the function for Starlette": add_starlette_http_db_session_middleware,
    "by the function for FastAPI": add_fastapi_http_db_session_middleware,
    "the dispatch function": lambda app: app.add_middleware(
        BaseHTTPMiddleware, dispatch=starlette_http_db_session_middleware
    ),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PUBLISHED.items() for name in names])
def test_every_published_name_is_where_it_was(module: str, name: str) -> None:
    assert getattr(import_module(f"context_async_sqlalchemy{module}"), name) is not None
    assert module or name in context_async_sqlalchemy.__all__


def test_a_name_that_is_not_there_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="'context_async_sqlalchemy' has no attribute 'add_starlette_http"):
        _ = context_async_sqlalchemy.add_starlette_http_db_session_middleware


def test_the_root_and_its_submodules_import_no_adapter_before_it_is_asked_for() -> None:
    probe = """
import sys
import context_async_sqlalchemy.asgi_utils, context_async_sqlalchemy.starlette_utils
from context_async_sqlalchemy import db_session
print(sorted(name for name in sys.modules if "_asgi" in name or "starlette" in name.partition(".")[0]))
"""
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)  # noqa: S603
    assert result.stdout.strip() == "[]"


@asynccontextmanager
async def _client_of(app: Any) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def _app(endpoint: Callable[[Request], Awaitable[Response]]) -> FastAPI:
    app = FastAPI()
    app.router.add_route("/", endpoint)
    return app


@pytest.mark.parametrize("added", ADDED)
@pytest.mark.parametrize(("status", "kept"), [(200, ["written"]), (409, [])])
async def test_the_status_decides(
    connection: DBConnect, database: Database, added: str, status: int, kept: list[str]
) -> None:
    async def endpoint(_request: Request) -> Response:
        await write(connection, "written")
        return PlainTextResponse("", status)

    app = _app(endpoint)
    ADDED[added](app)
    async with _client_of(app) as client:
        assert (await client.get("/")).status_code == status
        assert in_use(connection) == 0
        assert not is_context_initiated()
        with pytest.raises(ContextNotInitiatedError):
            await db_session(connection)
    assert await database.notes() == kept


@pytest.mark.parametrize("added", ADDED)
async def test_a_failing_commit_is_now_a_500(connection: DBConnect, added: str) -> None:
    async def endpoint(_request: Request) -> Response:
        await run(connection, FAILING_COMMIT)
        return PlainTextResponse("")

    app = _app(endpoint)
    ADDED[added](app)
    async with _client_of(app) as client:
        assert (await client.get("/")).status_code == 500
    assert in_use(connection) == 0


@pytest.mark.parametrize("added", ADDED)
async def test_an_exception_rolls_back(connection: DBConnect, database: Database, added: str) -> None:
    async def endpoint(_request: Request) -> Response:
        await write(connection, "discarded")
        raise ZeroDivisionError

    app = _app(endpoint)
    ADDED[added](app)
    async with _client_of(app) as client:
        assert (await client.get("/")).status_code == 500
    assert in_use(connection) == 0
    assert await database.notes() == []


@pytest.mark.parametrize("added", ADDED)
async def test_the_context_of_a_test_is_respected(connection: DBConnect, database: Database, added: str) -> None:
    async def endpoint(_request: Request) -> Response:
        await write(connection, "seen by the test")
        return PlainTextResponse("")

    app = _app(endpoint)
    ADDED[added](app)
    async with (
        rollback_session(connection) as session,
        set_test_context(),
        put_savepoint_session_in_ctx(connection, session),
        _client_of(app) as client,
    ):
        assert (await client.get("/")).status_code == 200
        assert is_context_initiated()
    assert await database.notes() == []


async def test_before_commit_is_positional_or_by_name(connection: DBConnect) -> None:
    seen: list[AsyncSession] = []

    async def before_commit(session: AsyncSession) -> None:
        seen.append(session)

    async def endpoint(_request: Request) -> Response:
        await write(connection, "written")
        return PlainTextResponse("")

    plain = Starlette(routes=[Route("/", endpoint)])
    by_name = Starlette(routes=[Route("/", endpoint)])
    by_name.add_middleware(StarletteHTTPDBSessionMiddleware, before_commit=before_commit)
    by_function = Starlette(routes=[Route("/", endpoint)])
    add_starlette_http_db_session_middleware(by_function, before_commit)
    for app in (
        ASGIHTTPDBSessionMiddleware(plain, before_commit),
        ASGIHTTPDBSessionMiddleware(app=plain, before_commit=before_commit),
        by_name,
        by_function,
    ):
        seen.clear()
        async with _client_of(app) as client:
            await client.get("/")
        assert len(seen) == 1


async def test_a_dispatch_function_given_to_the_starlette_middleware_runs_inside(connection: DBConnect) -> None:
    async def dispatch(request: Request, call_next: RequestResponseEndpoint) -> Response:
        assert is_context_initiated()
        response = await call_next(request)
        response.headers["seen"] = "yes"
        return response

    async def endpoint(_request: Request) -> Response:
        await write(connection, "written")
        return PlainTextResponse("")

    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(StarletteHTTPDBSessionMiddleware, dispatch=dispatch)
    async with _client_of(app) as client:
        assert (await client.get("/")).headers["seen"] == "yes"


async def test_a_websocket_has_no_context_until_it_opens_one() -> None:
    seen: list[bool] = []

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(is_context_initiated())
        token = init_db_session_ctx()
        await reset_db_session_ctx(token)

    arguments: Any = ({"type": "websocket"}, None, None)
    await ASGIHTTPDBSessionMiddleware(app)(*arguments)
    assert seen == [False]


def _mock_session() -> MagicMock:
    session = MagicMock(commit=AsyncMock(), rollback=AsyncMock(), close=AsyncMock())
    session.in_transaction.return_value = True
    return session


@pytest.mark.parametrize(("status", "committed"), [(200, True), (409, False)])
async def test_a_mock_in_place_of_a_session_is_ended_once(connection: DBConnect, status: int, committed: bool) -> None:
    session = _mock_session()

    async def endpoint(_request: Request) -> Response:
        put_db_session_to_context(connection, session)
        assert await db_session(connection) is session
        return PlainTextResponse("", status)

    app = _app(endpoint)
    app.add_middleware(ASGIHTTPDBSessionMiddleware)
    async with _client_of(app) as client:
        await client.get("/")
    assert session.commit.await_count == int(committed)
    assert session.rollback.await_count == int(not committed)
    session.close.assert_awaited_once()


async def test_a_mock_is_rolled_back_after_an_exception_and_only_closed_by_a_reset(connection: DBConnect) -> None:
    session = _mock_session()

    async def fails() -> None:
        put_db_session_to_context(connection, session)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_in_new_ctx(fails)
    session.rollback.assert_awaited_once()

    session = _mock_session()
    token = init_db_session_ctx()
    put_db_session_to_context(connection, session)
    await reset_db_session_ctx(token)
    session.rollback.assert_not_awaited()
    session.close.assert_awaited_once()


async def test_a_mock_can_be_closed_early(connection: DBConnect) -> None:
    session = _mock_session()
    async with set_test_context():
        put_db_session_to_context(connection, session)
        await close_db_session(connection)
    session.close.assert_awaited_once()
