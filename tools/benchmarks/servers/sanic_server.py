"""The service on Sanic: the same handlers, by hand or through the library."""

from collections.abc import Callable
from functools import partial
from typing import Any

from sanic import HTTPResponse, response
from sanic.signals import Event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from context_async_sqlalchemy import DBConnect, db_session, setup_db
from tools.benchmarks.servers import on_sanic
from tools.benchmarks.servers.common import FIRST, POOL, SECOND, chosen
from tools.benchmarks.servers.on_sanic import AnyRequest


def bare(_app: Any, _url: str) -> None:
    """Serve without the library."""


async def _empty_handler(**_: Any) -> None:
    pass


def empty_hooks(app: Any, _url: str) -> None:
    """Serve with a handler of the signal before the response, which does nothing."""
    app.signal(Event.HTTP_LIFECYCLE_RESPONSE)(_empty_handler)


def by_hand(app: Any, url: str) -> None:
    """Serve with the transaction written out in the handler."""
    maker = async_sessionmaker(create_async_engine(url, **POOL), expire_on_commit=False)

    async def two_selects(_request: AnyRequest) -> HTTPResponse:
        async with maker() as session, session.begin():
            first = (await session.execute(FIRST)).one()
            second = (await session.execute(SECOND)).one()
        return response.json([first.name, second.name])

    app.add_route(two_selects, "/two-selects")


def by_library(app: Any, url: str, **options: Any) -> None:
    """Serve through the library."""
    connection = DBConnect.from_url(url, name="main", **POOL)

    async def two_selects(_request: AnyRequest) -> HTTPResponse:
        session = await db_session(connection)
        first = (await session.execute(FIRST)).one()
        second = (await session.execute(SECOND)).one()
        return response.json([first.name, second.name])

    app.add_route(two_selects, "/two-selects")
    setup_db(app, [connection], **options)


APPLICATIONS: dict[str, Callable[[Any, str], None]] = {
    "bare": bare,
    "empty_hooks": empty_hooks,
    "by_hand": by_hand,
    "unobserved": partial(by_library, observers=()),
    "measured": by_library,
}


def main() -> None:
    """Serve one application until the process is stopped."""
    name, url = chosen(__doc__, APPLICATIONS)
    on_sanic.serve(name, lambda app: APPLICATIONS[name](app, url))


if __name__ == "__main__":
    main()
