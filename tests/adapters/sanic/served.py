"""A Sanic application in processes of its own, as users run it: TouchUp on, uvloop, workers, or an ASGI server.

python -m tests.adapters.sanic.served sanic|asgi PORT, or by Sanic's own command with ``create_app`` as the factory. The
database is SERVED_DATABASE_URL, which is checked at the start if there is SERVED_CHECKED.
"""

import asyncio
import os
import sys
from typing import Any

from sanic import Request, Sanic, response

from context_async_sqlalchemy import DBConnect, setup_db
from tests.conformance.statements import run, write
from tests.support.database import APPLICATION_NAME, FAILING_COMMIT, SLOW_COMMIT_STATEMENT

AnyRequest = Request[Any, Any]


class Handlers:
    """A handler for each way that a request may end.

    Args:
        connection: the database.

    """

    def __init__(self, connection: DBConnect) -> None:
        self._connection = connection

    async def written(self, _request: AnyRequest) -> response.HTTPResponse:
        await write(self._connection, "kept")
        return response.text(str(os.getpid()))

    async def failing(self, _request: AnyRequest) -> response.HTTPResponse:
        await run(self._connection, FAILING_COMMIT)
        return response.text("never")

    async def streamed(self, request: Any) -> None:
        await write(self._connection, "before the headers")
        stream = await request.respond()
        await stream.send(b"started ")
        await write(self._connection, "after the headers")
        await stream.send(b"done")

    async def failing_stream(self, request: Any) -> None:
        await run(self._connection, FAILING_COMMIT)
        stream = await request.respond()
        await stream.send(b"never")

    async def failing_after_a_stream(self, request: Any) -> None:
        stream = await request.respond()
        await stream.send(b"started ")
        await run(self._connection, FAILING_COMMIT)

    async def stuck(self, _request: AnyRequest) -> response.HTTPResponse:
        await write(self._connection, "discarded")
        await asyncio.Event().wait()
        return response.empty()

    async def stuck_after_a_child(self, _request: AnyRequest) -> response.HTTPResponse:
        await asyncio.create_task(write(self._connection, "discarded"))
        await asyncio.Event().wait()
        return response.empty()

    async def stuck_in_a_statement(self, _request: AnyRequest) -> response.HTTPResponse:
        await write(self._connection, "discarded")
        await run(self._connection, "SELECT pg_sleep(60)")
        return response.empty()

    async def stuck_in_a_stream(self, request: Any) -> None:
        stream = await request.respond()
        await stream.send(b"started ")
        await write(self._connection, "discarded")
        await asyncio.Event().wait()

    async def slow_commit(self, _request: AnyRequest) -> response.HTTPResponse:
        await run(self._connection, SLOW_COMMIT_STATEMENT)
        return response.empty()

    async def shut_down(self, request: Any) -> response.HTTPResponse:
        request.app.m.terminate()
        return response.empty()


PATHS = tuple(name for name in vars(Handlers) if not name.startswith("_"))


def create_app() -> Any:
    """Make the application."""
    connection = DBConnect.from_url(
        os.environ["SERVED_DATABASE_URL"], connect_args={"server_settings": {"application_name": APPLICATION_NAME}}
    )
    handlers = Handlers(connection)
    app: Any = Sanic("served", configure_logging=False)
    for path in PATHS:
        app.add_route(getattr(handlers, path), f"/{path}")
    app.config.GRACEFUL_SHUTDOWN_TIMEOUT = 0.1
    app.config.RESPONSE_TIMEOUT = 0.5
    setup_db(app, [connection], check_at_start="SERVED_CHECKED" in os.environ)
    return app


def main(server: str, port: str) -> None:
    """Serve until a signal comes."""
    app = create_app()
    if server == "asgi":
        import uvicorn  # noqa: PLC0415 - only this way of serving needs it

        uvicorn.run(app, port=int(port), log_level="warning", timeout_graceful_shutdown=1)
    else:
        app.run(port=int(port), single_process=True, access_log=False, motd=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
