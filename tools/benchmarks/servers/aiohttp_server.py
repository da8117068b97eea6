"""The service on aiohttp: the same handlers, by hand or through the library."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import asyncpg as untyped_asyncpg  # type: ignore[import-untyped] # it has no types
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from context_async_sqlalchemy import DBConnect, db_session, setup_db
from context_async_sqlalchemy.adapter_kit import Context
from context_async_sqlalchemy.observer import Observer
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver
from tools.benchmarks.servers import on_aiohttp
from tools.benchmarks.servers.common import FIRST, POOL, SECOND, SQL, chosen
from tools.benchmarks.servers.on_aiohttp import nothing
from tools.benchmarks.servers.tracing import server_span, tracer_provider

asyncpg: Any = untyped_asyncpg


def bare(_url: str) -> web.Application:
    """Serve without any middleware."""
    app = web.Application()
    app.router.add_get("/nothing", nothing)
    return app


@web.middleware
async def _empty_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)


async def _empty_receiver(_request: web.Request, _response: web.StreamResponse) -> None:
    pass


def empty_hooks(url: str) -> web.Application:
    """Serve within a middleware and a receiver of the signal before the headers, which both do nothing."""
    app = bare(url)
    app.middlewares.append(_empty_middleware)
    app.on_response_prepare.append(_empty_receiver)
    return app


def by_hand(url: str) -> web.Application:
    """Serve with the transaction written out in the handler."""
    return on_aiohttp.by_hand(create_async_engine(url, **POOL))


def by_hand_in_server_span(url: str) -> web.Application:
    """Serve with the transaction written out in the handler, in a server span that is sampled."""
    return on_aiohttp.by_hand(create_async_engine(url, **POOL), server_span(tracer_provider(is_sampled=True)))


def driver_alone(url: str) -> web.Application:
    """Serve with asyncpg, its pool, and no SQLAlchemy: the lower bound of what a request can cost."""
    app = web.Application()
    made: list[Any] = []

    async def leave(_connection: object) -> None:
        """Take the place of a reset, which SQLAlchemy's pool does not ask the database for either."""

    async def pool(_app: web.Application) -> AsyncGenerator[None]:
        dsn = url.replace("+asyncpg", "")
        async with asyncpg.create_pool(dsn, min_size=0, max_size=POOL["pool_size"], reset=leave) as opened:
            made.append(opened)
            yield

    async def two_selects(_request: web.Request) -> web.Response:
        async with made[0].acquire() as connection, connection.transaction():
            first = await connection.fetchrow(SQL, 1)
            second = await connection.fetchrow(SQL, 2)
        return web.json_response([first["name"], second["name"]])

    app.router.add_get("/two-selects", two_selects)
    app.cleanup_ctx.append(pool)
    return app


def by_library(url: str, *middlewares: Middleware, **options: Any) -> web.Application:
    """Serve through the library, inside of middlewares."""
    connection = DBConnect.from_url(url, name="main", **POOL)

    async def two_selects(_request: web.Request) -> web.Response:
        session = await db_session(connection)
        first = (await session.execute(FIRST)).one()
        second = (await session.execute(SECOND)).one()
        return web.json_response([first.name, second.name])

    app = web.Application(middlewares=middlewares)
    app.router.add_get("/two-selects", two_selects)
    app.router.add_get("/nothing", nothing)
    setup_db(app, [connection], position=len(middlewares), **options)
    return app


def traced(url: str, *, is_sampled: bool, has_session_spans: bool) -> web.Application:
    """Serve through the library, in a server span; with the session's spans below it, or without.

    Without them the connections are observed too, as they are for metrics.
    """
    provider = tracer_provider(is_sampled=is_sampled)
    observers = [OpenTelemetryObserver(tracer_provider=provider) if has_session_spans else Observer()]
    return by_library(url, server_span(provider), observers=observers)


async def _live_objects(_request: web.Request) -> web.Response:
    """Answer with the number of contexts, sessions and tasks that are alive."""
    gc.collect()
    alive = gc.get_objects()
    counts = {
        "contexts": sum(isinstance(thing, Context) for thing in alive),
        "sessions": sum(isinstance(thing, AsyncSession) for thing in alive),
        "tasks": len(asyncio.all_tasks()),
    }
    return web.json_response(counts)


def _control() -> web.Application:
    app = on_aiohttp.control()
    app.router.add_get("/live-objects", _live_objects)
    return app


APPLICATIONS: dict[str, Callable[[str], web.Application]] = {
    "bare": bare,
    "empty_hooks": empty_hooks,
    "by_hand": by_hand,
    "by_hand_in_server_span": by_hand_in_server_span,
    "driver_alone": driver_alone,
    "unobserved": partial(by_library, observers=()),
    "measured": by_library,
    "inspected": partial(by_library, inspector_path="/_db"),
    "server_span": partial(traced, is_sampled=True, has_session_spans=False),
    "all_spans": partial(traced, is_sampled=True, has_session_spans=True),
    "unsampled": partial(traced, is_sampled=False, has_session_spans=False),
    "all_unsampled": partial(traced, is_sampled=False, has_session_spans=True),
}


def main() -> None:
    """Serve one application until the input ends."""
    name, url = chosen(__doc__, APPLICATIONS)
    on_aiohttp.serve(name, partial(APPLICATIONS[name], url), _control)


if __name__ == "__main__":
    main()
