"""The application on aiohttp: what a client is answered until another host takes writes."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, db_session, setup_db
from examples.failover.writable_host import WritableHost, is_passing


def connect_to_any(url: str, hosts: Sequence[str], *, answer_within: float = 5.0, **options: Any) -> DBConnect:
    """Make a connection that follows the host that takes writes.

    Args:
        url: how to log in, with asyncpg.
        hosts: where the database may be, each as ``"host:port"``.
        answer_within: seconds that the slowest statement may take; by default asyncpg waits for ever.
        options: see ``DBConnect.from_url``.

    """
    return DBConnect.from_url(
        url,
        before_create_session_handler=WritableHost(url, hosts),
        connect_args={"timeout": 2, "command_timeout": answer_within},
        **options,
    )


@web.middleware
async def answer_503_during_a_failover(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what passes by a 503; the library, inside of this, has rolled back by then."""
    try:
        return await handler(request)
    except Exception as error:
        if not is_passing(error):
            raise
        return web.Response(status=503, headers={"Retry-After": "1"}, text="the database is moving")


def make_app(connection: DBConnect, **options: Any) -> web.Application:
    """Make the application, which writes notes.

    Args:
        connection: the database.
        options: see ``setup_db``.

    """

    async def write(request: web.Request) -> web.Response:
        session = await db_session(connection)
        await session.execute(text("INSERT INTO notes (body) VALUES (:body)"), {"body": request.match_info["body"]})
        return web.Response(status=201)

    app = web.Application(middlewares=[answer_503_during_a_failover])
    app.router.add_post("/notes/{body}", write)
    setup_db(app, [connection], position=1, **options)
    return app
