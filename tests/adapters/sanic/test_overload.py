"""The application's own handlers of a shed request come before the 503."""

import socket
from typing import Any

import aiohttp
import pytest
from sanic import Blueprint, Sanic, response
from sqlalchemy.exc import SQLAlchemyError

from context_async_sqlalchemy import DBConnect, db_context, setup_db
from tests.adapters.sanic.serving import start, stop
from tests.conformance.statements import run
from tests.support.connections import connect_to
from tests.support.database import Database


@pytest.mark.parametrize("handled", [True, False])
async def test_a_handler_of_a_blueprint_for_a_base_class_answers(database: Database, handled: bool) -> None:
    limited: DBConnect = connect_to(database.url, pool_size=1, max_wait=0.05)
    app: Any = Sanic("overload", configure_logging=False)
    # Sanic rewrites its own methods at start, and cannot do so twice in one process.
    app.config.TOUCHUP = False
    app.config.AUTO_EXTEND = False
    blueprint: Any = Blueprint("work")

    async def work(_request: Any) -> response.HTTPResponse:
        await run(limited, "SELECT 1")
        return response.text("answered")

    async def own(_request: Any, _error: SQLAlchemyError) -> response.HTTPResponse:
        return response.text("own", status=429)

    blueprint.add_route(work, "/")
    if handled:
        blueprint.exception(SQLAlchemyError)(own)
    app.blueprint(blueprint)
    setup_db(app, [limited])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = await start(app, listener)
        try:
            async with db_context(), aiohttp.ClientSession() as client:
                await run(limited, "SELECT 1")
                async with client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/") as answered:
                    assert answered.status == (429 if handled else 503)
        finally:
            await stop(app, server, grace=1.0)
            app.unregister_app(app)
