"""The service on Starlette: the same handlers, by hand or through the library."""

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from context_async_sqlalchemy import DBConnect, db_session, setup_db
from tools.benchmarks.servers import on_starlette
from tools.benchmarks.servers.common import FIRST, POOL, SECOND, chosen
from tools.benchmarks.servers.on_starlette import application


def bare(_url: str) -> Starlette:
    """Serve without the library."""
    return application()


class _EmptyMiddleware:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Any) -> None:
            await send(message)

        await self._app(scope, receive, send_on)


def empty_hooks(_url: str) -> Starlette:
    """Serve within a middleware that wraps ``send``, and does nothing."""
    app = application()
    app.add_middleware(_EmptyMiddleware)
    return app


def by_hand(url: str) -> Starlette:
    """Serve with the transaction written out in the handler."""
    maker = async_sessionmaker(create_async_engine(url, **POOL), expire_on_commit=False)

    async def two_selects(_request: Request) -> Response:
        async with maker() as session, session.begin():
            first = (await session.execute(FIRST)).one()
            second = (await session.execute(SECOND)).one()
        return JSONResponse([first.name, second.name])

    return application(two_selects)


def by_library(url: str, **options: Any) -> Starlette:
    """Serve through the library."""
    connection = DBConnect.from_url(url, name="main", **POOL)

    async def two_selects(_request: Request) -> Response:
        session = await db_session(connection)
        first = (await session.execute(FIRST)).one()
        second = (await session.execute(SECOND)).one()
        return JSONResponse([first.name, second.name])

    app = application(two_selects)
    setup_db(app, [connection], **options)
    return app


APPLICATIONS: dict[str, Callable[[str], Starlette]] = {
    "bare": bare,
    "empty_hooks": empty_hooks,
    "by_hand": by_hand,
    "unobserved": partial(by_library, observers=()),
    "measured": by_library,
}


def main() -> None:
    """Serve one application until the process is stopped."""
    name, url = chosen(__doc__, APPLICATIONS)
    on_starlette.serve(name, APPLICATIONS[name](url))


if __name__ == "__main__":
    main()
