"""The names of applications."""

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from contextvars import Token
from typing import Any, assert_type

import falcon.asgi
import litestar
import quart
from aiohttp import web
from fastapi import FastAPI
from sanic import Sanic
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from starlette.applications import Starlette

from context_async_sqlalchemy import (
    CommitTimeoutError,
    DBConnect,
    FailedTransactionError,
    PartialCommitError,
    Retry,
    atomic_db_session,
    commit_db_session,
    db_context,
    db_session,
    get_db_session_from_context,
    init_db_session_ctx,
    is_context_initiated,
    is_retryable,
    new_non_ctx_session,
    pop_db_session_from_context,
    retried,
    run_in_new_ctx,
    set_rollback,
    setup_db,
)
from context_async_sqlalchemy.adapter_kit import Context
from context_async_sqlalchemy.test_utils import rolled_back
from context_async_sqlalchemy_aiohttp import setup_db as setup_aiohttp
from context_async_sqlalchemy_asgi import ASGIHTTPDBSessionMiddleware
from context_async_sqlalchemy_asgi.falcon import setup_db as setup_falcon
from context_async_sqlalchemy_asgi.litestar import setup_db as setup_litestar
from context_async_sqlalchemy_asgi.quart import setup_db as setup_quart
from context_async_sqlalchemy_asgi.starlette import setup_db as setup_starlette
from context_async_sqlalchemy_sanic import session_of
from context_async_sqlalchemy_sanic import setup_db as setup_sanic


def make_engine(host: str) -> AsyncEngine:
    return create_async_engine(f"postgresql+asyncpg://me@{host}/shop")


def make_maker(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(engine)


async def connections() -> None:
    connection = assert_type(DBConnect.from_url("postgresql+asyncpg://host/shop", name="main", pool_size=5), DBConnect)
    DBConnect.from_url(URL.create("postgresql+asyncpg"))
    DBConnect(make_engine, make_maker, host="host")
    DBConnect(engine_creator=make_engine, session_maker_creator=make_maker)
    DBConnect.from_url(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(connection.name, str)
    assert_type(connection.engine, AsyncEngine | None)
    assert_type(await connection.session_maker(), async_sessionmaker[AsyncSession])
    assert_type(await connection.create_session(), AsyncSession)


class Derived(DBConnect):
    """A class of the application."""


async def sessions(connection: DBConnect) -> None:
    assert_type(Derived.from_url("postgresql+asyncpg://host/shop"), Derived)
    assert_type(await db_session(connection), AsyncSession)
    await db_session("main")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(get_db_session_from_context(connection), AsyncSession | None)
    assert_type(pop_db_session_from_context(connection), AsyncSession | None)
    async with atomic_db_session(connection) as session:
        assert_type(session, AsyncSession)
    async with atomic_db_session(connection, "append"):
        pass
    atomic_db_session(connection, "apend")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with new_non_ctx_session(connection) as session:
        assert_type(session, AsyncSession)
    async with rolled_back(connection) as session:
        assert_type(session, AsyncSession)
    await commit_db_session(connection)


async def add(left: int, right: int) -> int:
    return left + right


async def contexts() -> None:
    assert_type(await run_in_new_ctx(add, 1, 2), int)
    manager: AbstractAsyncContextManager[None] = db_context()
    async with manager:
        assert_type(is_context_initiated(), bool)
    assert_type(init_db_session_ctx(force=True), Token[Context | None])
    set_rollback()
    set_rollback(rollback=False)


def retries(error: Exception) -> None:
    decorate = retried(Retry(attempts=5, base_delay=0.1))
    again: Callable[[int, int], Coroutine[Any, Any, int]] = decorate(add)
    again("1", 2)  # type: ignore[arg-type, unused-coroutine]  # pyright: ignore[reportArgumentType, reportUnusedCoroutine]
    assert_type(is_retryable(error), bool)


def errors(error: Exception) -> None:
    if isinstance(error, CommitTimeoutError):
        assert_type(error.connection, str)
        assert_type(error.seconds, float)
    elif isinstance(error, PartialCommitError):
        assert_type(error.committed, tuple[str, ...])
        assert_type(error.failed, str)
        assert_type(error.rolled_back, tuple[str, ...])
    elif isinstance(error, FailedTransactionError):
        assert_type(error.error_name, str)


async def before_commit(session: AsyncSession) -> None:
    await session.flush()


def commits(status: int) -> bool:
    return status < 500


def applications(connection: DBConnect) -> None:
    """Every framework takes the options that all have, and no application of another one."""
    setup_db(web.Application(), [connection], commit_on=commits, before_commit=before_commit, metrics_path="/internal")
    setup_db(web.Application(), [make_engine])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    setup_db(web.Application(), [connection], commit_on=400)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    setup_aiohttp(web.Application(), [connection], position=0, finish_timeout=5.0, metrics_path=None)
    setup_aiohttp(web.Application(), [connection], postion=0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    setup_aiohttp(Starlette(), [connection])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    setup_sanic(Sanic("typed"), [connection], leak_threshold=5.0, leak_stacks=True)
    setup_starlette(Starlette(), [connection], position=0)
    setup_starlette(FastAPI(), (connection,))
    setup_litestar(litestar.Litestar(), [connection])
    setup_falcon(falcon.asgi.App(), [connection])
    setup_quart(quart.Quart("typed"), [connection])
    ASGIHTTPDBSessionMiddleware(Starlette(), connections=[connection], observers=())
    session_of(connection)
