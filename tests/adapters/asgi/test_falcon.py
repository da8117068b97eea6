"""What is Falcon's own: its test clients, its route templates, and its WSGI applications."""

from typing import Any

import falcon
import falcon.asgi
import falcon.testing
import pytest

from context_async_sqlalchemy import DBConnect, setup_db
from context_async_sqlalchemy.observer import ContextRecord, Observer
from tests.conformance.statements import write
from tests.support.database import Database


class _Routes(Observer):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def context_ended(self, context: ContextRecord) -> None:
        self.seen.append(context.route)


def _app(connection: DBConnect) -> Any:
    class Note:
        async def on_put(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response, body: str) -> None:
            await write(connection, body)
            resp.status = falcon.HTTP_201

    app: Any = falcon.asgi.App()
    app.add_route("/notes/{body}", Note())
    return app


async def test_its_test_client_and_its_templates(connection: DBConnect, database: Database) -> None:
    app, routes = _app(connection), _Routes()
    setup_db(app, [connection], observers=[routes])
    async with falcon.testing.ASGIConductor(app) as client:
        assert (await client.put("/notes/kept")).status == falcon.HTTP_201
    assert await database.notes() == ["kept"]
    assert routes.seen == ["PUT /notes/{body}"]


def test_an_application_on_wsgi_is_refused(connection: DBConnect) -> None:
    with pytest.raises(TypeError, match=r"takes a falcon\.asgi\.App, .* is a WSGI application"):
        setup_db(falcon.App(), [connection])
