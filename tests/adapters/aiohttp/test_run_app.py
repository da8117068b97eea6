"""web.run_app as applications run it, ended by SIGTERM while a request is in flight."""

import asyncio
import os
import signal
import sys
from textwrap import dedent

import pytest

from tests.conformance.service import REQUEST
from tests.support.database import APPLICATION_NAME, Database

PROGRAM = """
    import asyncio, os, socket, sys
    from aiohttp import web
    from sqlalchemy import text
    from context_async_sqlalchemy import DBConnect, db_session, setup_db

    settings = {"application_name": sys.argv[1]}
    connection = DBConnect.from_url(os.environ["SERVED_DATABASE_URL"], connect_args={"server_settings": settings})

    async def handler(request):
        session = await db_session(connection)
        await session.execute(text("INSERT INTO notes (body) VALUES ('discarded')"))
        await asyncio.Event().wait()

    app = web.Application()
    app.router.add_get("/", handler)
    setup_db(app, [connection])
    listener = socket.create_server(("127.0.0.1", 0))
    web.run_app(
        app, sock=listener, handler_cancellation=sys.argv[2] == "True", shutdown_timeout=0.1,
        print=lambda *_: print(listener.getsockname()[1], flush=True),
    )
"""


@pytest.mark.parametrize("handler_cancellation", [True, False])
async def test_sigterm_leaves_nothing_behind(database: Database, handler_cancellation: bool) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", dedent(PROGRAM), APPLICATION_NAME, str(handler_cancellation)),
        env={**os.environ, "SERVED_DATABASE_URL": database.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    await database.wait_for_backends("state = 'idle in transaction'")
    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()
    writer.transport.abort()
    assert process.returncode == 0
    assert b"Traceback" not in errors
    await database.wait_for_backends("true", count=0)
    assert await database.notes() == []
