# advanced-alchemy is installed in the environment of this server only, not where types are checked.
# pyright: basic, reportMissingImports=false
"""The service on Starlette with advanced-alchemy, which commits after a response below 300."""

from advanced_alchemy.extensions.starlette import (
    AdvancedAlchemy,
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tools.benchmarks.servers import on_starlette
from tools.benchmarks.servers.common import FIRST, POOL, SECOND, chosen
from tools.benchmarks.servers.on_starlette import application


def advanced_alchemy(url: str) -> Starlette:
    """Serve with the session of the library's middleware."""
    alchemy = AdvancedAlchemy(
        SQLAlchemyAsyncConfig(
            connection_string=url,
            engine_config=EngineConfig(**POOL),
            session_config=AsyncSessionConfig(expire_on_commit=False),
            commit_mode="autocommit",
        )
    )

    async def two_selects(request: Request) -> Response:
        session = alchemy.get_async_session(request)
        first = (await session.execute(FIRST)).one()
        second = (await session.execute(SECOND)).one()
        return JSONResponse([first.name, second.name])

    app = application(two_selects)
    alchemy.init_app(app)
    return app


APPLICATIONS = {"advanced_alchemy": advanced_alchemy}


def main() -> None:
    """Serve one application until the process is stopped."""
    name, url = chosen(__doc__, APPLICATIONS)
    on_starlette.serve(name, APPLICATIONS[name](url))


if __name__ == "__main__":
    main()
