"""The service on Starlette with the published library, whose names this project has too."""

from collections.abc import Callable
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import context_async_sqlalchemy
from context_async_sqlalchemy import ASGIHTTPDBSessionMiddleware, DBConnect, db_session
from context_async_sqlalchemy.starlette_utils import add_starlette_http_db_session_middleware
from tools.benchmarks.servers import on_starlette
from tools.benchmarks.servers.common import FIRST, POOL, SECOND, chosen
from tools.benchmarks.servers.on_starlette import application


def _maker(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)


def _published(add_middleware: Callable[[Starlette], None], url: str) -> Starlette:
    connection = DBConnect(
        engine_creator=lambda _host: create_async_engine(url, **POOL), session_maker_creator=_maker, host="127.0.0.1"
    )

    async def two_selects(_request: Request) -> Response:
        session = await db_session(connection)
        first = (await session.execute(FIRST)).one()
        second = (await session.execute(SECOND)).one()
        return JSONResponse([first.name, second.name])

    app = application(two_selects)
    add_middleware(app)
    return app


def _add_asgi_middleware(app: Starlette) -> None:
    app.add_middleware(ASGIHTTPDBSessionMiddleware)


APPLICATIONS: dict[str, Callable[[str], Starlette]] = {
    # Commits after the response.
    "published_asgi": partial(_published, _add_asgi_middleware),
    # Commits before the status line, as this library does.
    "published_starlette": partial(_published, add_starlette_http_db_session_middleware),
}


def main() -> None:
    """Serve one application until the process is stopped."""
    if hasattr(context_async_sqlalchemy, "setup_db"):
        raise RuntimeError("This process has found this project in the place of the published library.")
    name, url = chosen(__doc__, APPLICATIONS)
    on_starlette.serve(name, APPLICATIONS[name](url))


if __name__ == "__main__":
    main()
