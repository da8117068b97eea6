# advanced-alchemy is installed in the environment of this server only, not where types are checked.
# pyright: basic, reportMissingImports=false
"""The service on Sanic with advanced-alchemy, whose session the handler opens.

The session of its request is of no use in version 1.12.0: it is a context manager that nothing has entered.
"""

from typing import Any

from advanced_alchemy.extensions.sanic import AdvancedAlchemy, AsyncSessionConfig, EngineConfig, SQLAlchemyAsyncConfig
from sanic import HTTPResponse, response

from tools.benchmarks.servers import on_sanic
from tools.benchmarks.servers.common import FIRST, POOL, SECOND, chosen
from tools.benchmarks.servers.on_sanic import AnyRequest


def advanced_alchemy(app: Any, url: str) -> None:
    """Serve with a session of the library, in the library's middlewares."""
    alchemy = AdvancedAlchemy(
        sqlalchemy_config=SQLAlchemyAsyncConfig(
            connection_string=url,
            engine_config=EngineConfig(**POOL),
            session_config=AsyncSessionConfig(expire_on_commit=False),
        )
    )

    async def two_selects(_request: AnyRequest) -> HTTPResponse:
        async with alchemy.with_async_session() as session, session.begin():
            first = (await session.execute(FIRST)).one()
            second = (await session.execute(SECOND)).one()
        return response.json([first.name, second.name])

    app.add_route(two_selects, "/two-selects")
    alchemy.register(app)


APPLICATIONS = {"advanced_alchemy": advanced_alchemy}


def main() -> None:
    """Serve one application until the process is stopped."""
    name, url = chosen(__doc__, APPLICATIONS)
    on_sanic.serve(name, lambda app: APPLICATIONS[name](app, url))


if __name__ == "__main__":
    main()
