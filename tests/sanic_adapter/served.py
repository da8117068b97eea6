"""A Sanic application in a process of its own, as users run it: TouchUp on, uvloop, or an ASGI server.

python -m tests.sanic_adapter.served sanic|asgi URL PORT
"""

import asyncio
import sys
from typing import Any

from sanic import Request, Sanic, response

from context_async_sqlalchemy import DBConnect, setup_db
from tests.conformance.statements import run, write
from tests.support.database import APPLICATION_NAME, FAILING_COMMIT, SLOW_COMMIT_STATEMENT

AnyRequest = Request[Any, Any]


def make_app(url: str) -> Any:
    """Make an application with a handler for each way that a request may end."""
    connection = DBConnect.from_url(url, connect_args={"server_settings": {"application_name": APPLICATION_NAME}})
    app: Any = Sanic("served", configure_logging=False)

    async def written(_request: AnyRequest) -> response.HTTPResponse:
        await write(connection, "kept")
        return response.text("written")

    async def failing(_request: AnyRequest) -> response.HTTPResponse:
        await run(connection, FAILING_COMMIT)
        return response.text("never")

    async def streamed(request: Any) -> None:
        await write(connection, "before the headers")
        stream = await request.respond()
        await stream.send(b"started ")
        await write(connection, "after the headers")
        await stream.send(b"done")

    async def failing_stream(request: Any) -> None:
        await run(connection, FAILING_COMMIT)
        stream = await request.respond()
        await stream.send(b"never")

    async def stuck(_request: AnyRequest) -> response.HTTPResponse:
        await write(connection, "discarded")
        await asyncio.Event().wait()
        return response.empty()

    async def stuck_in_a_statement(_request: AnyRequest) -> response.HTTPResponse:
        await write(connection, "discarded")
        await run(connection, "SELECT pg_sleep(60)")
        return response.empty()

    async def stuck_in_a_stream(request: Any) -> None:
        stream = await request.respond()
        await stream.send(b"started ")
        await write(connection, "discarded")
        await asyncio.Event().wait()

    async def slow_commit(_request: AnyRequest) -> response.HTTPResponse:
        await run(connection, SLOW_COMMIT_STATEMENT)
        return response.empty()

    for handler in (
        written,
        failing,
        streamed,
        failing_stream,
        stuck,
        stuck_in_a_statement,
        stuck_in_a_stream,
        slow_commit,
    ):
        app.add_route(handler, f"/{handler.__name__}")
    app.config.GRACEFUL_SHUTDOWN_TIMEOUT = 0.1
    app.config.RESPONSE_TIMEOUT = 0.5
    setup_db(app, [connection])
    return app


def main(server: str, url: str, port: str) -> None:
    """Serve until a signal comes."""
    app = make_app(url)
    if server == "asgi":
        import uvicorn  # noqa: PLC0415 - only this way of serving needs it

        uvicorn.run(app, port=int(port), log_level="warning", timeout_graceful_shutdown=1)
    else:
        app.run(port=int(port), single_process=True, access_log=False, motd=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
