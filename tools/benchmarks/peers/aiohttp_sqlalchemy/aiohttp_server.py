# aiohttp-sqlalchemy is installed in the environment of this server only, not where types are checked. There its name is
# this folder's.
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
"""The service on aiohttp with aiohttp-sqlalchemy: its middleware has the session, and the handler the transaction."""

from functools import partial

import aiohttp_sqlalchemy
from aiohttp import web
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from tools.benchmarks.servers import on_aiohttp
from tools.benchmarks.servers.common import FIRST, POOL, SECOND, chosen


async def two_selects(request: web.Request) -> web.Response:
    """Answer with what two SELECTs in one transaction find."""
    session = aiohttp_sqlalchemy.get_session(request)
    async with session.begin():
        first = (await session.execute(FIRST)).one()
        second = (await session.execute(SECOND)).one()
    return web.json_response([first.name, second.name])


def aiohttp_sqlalchemy_application(url: str) -> web.Application:
    """Serve with the session of the library's middleware."""
    app = web.Application()
    app.router.add_get("/two-selects", two_selects)
    maker = async_sessionmaker(create_async_engine(url, **POOL), expire_on_commit=False)
    aiohttp_sqlalchemy.setup(app, [aiohttp_sqlalchemy.bind(maker)])
    return app


APPLICATIONS = {"aiohttp_sqlalchemy": aiohttp_sqlalchemy_application}


def main() -> None:
    """Serve one application until the input ends."""
    name, url = chosen(__doc__, APPLICATIONS)
    on_aiohttp.serve(name, partial(APPLICATIONS[name], url))


if __name__ == "__main__":
    main()
