"""The application: each request holds a connection for a fixed time, so the size of the pool sets the capacity."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, db_session, setup_db


@asynccontextmanager
async def serving(connection: DBConnect, work_seconds: float) -> AsyncGenerator[str]:
    """Serve the application on a free port; yield its URL.

    Args:
        connection: its database.
        work_seconds: the time that the statement of each request takes.

    """
    work = text("SELECT pg_sleep(:seconds)")

    async def handle(_request: web.Request) -> web.Response:
        session = await db_session(connection)
        await session.execute(work, {"seconds": work_seconds})
        return web.Response(text="served")

    app = web.Application()
    app.router.add_get("/", handle)
    setup_db(app, [connection])
    # With handler_cancellation a request whose client has given up leaves the queue, and its place is not lost.
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()
