"""Naive rivals of the library, each with one bug: the simulation must find it."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Literal

from aiohttp import web
from aiohttp.typedefs import Handler
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry

from context_async_sqlalchemy import (
    DBConnect,
    get_db_session_from_context,
    init_db_session_ctx,
    pop_db_session_from_context,
)
from context_async_sqlalchemy._pool_queue import HandOnPool
from tests.proof.simulation.scenarios.application import Setup
from tests.proof.simulation.world import World

_Around = Callable[[web.Request, Handler, DBConnect], Awaitable[web.StreamResponse]]


def _setup(around: _Around) -> Setup:
    """Make a set-up that puts a naive middleware around the handlers."""

    def set_up(app: web.Application, connections: Sequence[DBConnect], _world: World) -> None:
        (connection,) = connections

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            init_db_session_ctx()
            return await around(request, handler, connection)

        async def dispose(_app: web.Application) -> None:
            await connection.close()

        app.middlewares.append(middleware)
        app.on_cleanup.append(dispose)

    return set_up


async def _commit(connection: DBConnect) -> None:
    session = get_db_session_from_context(connection)
    if session is not None:
        await session.commit()


async def _close(connection: DBConnect) -> None:
    session: AsyncSession | None = pop_db_session_from_context(connection)
    if session is not None:
        await session.close()


async def _answer_before_commit(request: web.Request, handler: Handler, connection: DBConnect) -> web.StreamResponse:
    try:
        response = await handler(request)
        await response.prepare(request)
        await response.write_eof()
        if response.status < 400:
            await _commit(connection)
    finally:
        await _close(connection)
    return response


async def _commit_unprotected(request: web.Request, handler: Handler, connection: DBConnect) -> web.StreamResponse:
    try:
        response = await handler(request)
        if response.status < 400:
            await _commit(connection)
    finally:
        await _close(connection)
    return response


async def _forget_cancellation(request: web.Request, handler: Handler, connection: DBConnect) -> web.StreamResponse:
    try:
        response = await handler(request)
        if response.status < 400:
            await _commit(connection)
    except Exception:
        await _close(connection)
        raise
    await _close(connection)
    return response


async def _swallow_errors(request: web.Request, handler: Handler, connection: DBConnect) -> web.StreamResponse:
    try:
        response = await handler(request)
        if response.status < 400:
            with suppress(Exception):
                await _commit(connection)
    finally:
        await _close(connection)
    return response


answer_before_commit = _setup(_answer_before_commit)
commit_unprotected = _setup(_commit_unprotected)
forget_cancellation = _setup(_forget_cancellation)
swallow_errors = _setup(_swallow_errors)


class ForgettingPool(HandOnPool):
    """A pool that tells no waiting task of a place that has become free without a record."""

    def _dec_overflow(self) -> Literal[True]:
        return AsyncAdaptedQueuePool._dec_overflow(self)


class ResettingPool(HandOnPool):
    """A pool that forgets its places when it is disposed of, as SQLAlchemy's does."""

    def dispose(self) -> None:
        AsyncAdaptedQueuePool.dispose(self)


class DroppingPool(HandOnPool):
    """A pool that drops a connection which it has given to a task that was cancelled in this moment."""

    def take_back(self, record: ConnectionPoolEntry) -> None:
        """Forget the record."""


class LeakingPool(AsyncAdaptedQueuePool):
    """A pool that loses the place of a connection that could not be made, or was thrown away."""

    def _dec_overflow(self) -> Literal[True]:
        return True
