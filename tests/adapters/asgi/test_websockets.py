"""What an application answers to the handshake of a websocket decides, as a status does."""

from typing import Any

import aiohttp
import falcon.asgi
import pytest
from litestar import Litestar
from litestar import WebSocket as LitestarWebSocket
from litestar import websocket as litestar_websocket
from quart import Quart
from quart import websocket as quart_websocket
from sqlalchemy.exc import IntegrityError
from starlette.applications import Starlette
from starlette.websockets import WebSocket

from context_async_sqlalchemy import DBConnect, setup_db
from context_async_sqlalchemy.adapter_kit import Lifecycle
from context_async_sqlalchemy_asgi import DBContextMiddleware
from context_async_sqlalchemy_asgi.protocol import Message, Receive, Scope, Send
from tests.conformance.statements import run, write
from tests.support.asgi_servers import Serve, under_hypercorn, under_uvicorn
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, Database


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ({"type": "websocket.accept"}, ["before", "after"]),
        ({"type": "websocket.close"}, []),
        ({"type": "websocket.http.response.start", "status": 303}, ["before", "after"]),
        ({"type": "websocket.http.response.start", "status": 403}, []),
    ],
)
async def test_the_answer_to_the_handshake_decides(
    connection: DBConnect, database: Database, answer: Message, kept: list[str]
) -> None:
    held: list[int] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await write(connection, "before")
        await send(answer)
        held.append(in_use(connection))
        await write(connection, "after")

    async def send(message: Message) -> None: ...

    arguments: Any = ({"type": "websocket"}, None, send)
    await DBContextMiddleware(app, Lifecycle())(*arguments)
    assert held == [0]
    assert sorted(await database.notes()) == sorted(kept)
    assert in_use(connection) == 0


async def test_a_handshake_that_nobody_answers_commits_nothing(connection: DBConnect, database: Database) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await write(connection, "discarded")

    arguments: Any = ({"type": "websocket"}, None, None)
    await DBContextMiddleware(app, Lifecycle())(*arguments)
    assert await database.notes() == []
    assert in_use(connection) == 0


def _starlette(connection: DBConnect) -> Any:
    async def room(websocket: WebSocket) -> None:
        await run(connection, FAILING_COMMIT)
        await websocket.accept()

    app = Starlette()
    app.router.add_websocket_route("/", room)
    return app


def _starlette_that_closes(connection: DBConnect) -> Any:
    async def room(websocket: WebSocket) -> None:
        await run(connection, FAILING_COMMIT)
        try:
            await websocket.accept()
        except Exception:
            await websocket.close()
            raise

    app = Starlette()
    app.router.add_websocket_route("/", room)
    return app


def _quart(connection: DBConnect) -> Any:
    async def room() -> None:
        await run(connection, FAILING_COMMIT)
        await quart_websocket.accept()  # pyright: ignore[reportUnknownMemberType] - Quart's own type is open

    app = Quart("quart_app")
    app.add_websocket("/", view_func=room)
    return app


def _litestar(connection: DBConnect) -> Any:
    @litestar_websocket("/")
    async def room(socket: LitestarWebSocket[Any, Any, Any]) -> None:
        await run(connection, FAILING_COMMIT)
        await socket.accept()

    return Litestar([room])


def _falcon(connection: DBConnect) -> Any:
    class Room:
        async def on_websocket(self, _req: object, socket: falcon.asgi.WebSocket) -> None:
            await run(connection, FAILING_COMMIT)
            await socket.accept()

    app: Any = falcon.asgi.App()
    app.add_route("/", Room())
    return app


@pytest.mark.parametrize("serve", [under_uvicorn, under_hypercorn], ids=["uvicorn", "hypercorn"])
@pytest.mark.parametrize("make", [_starlette, _starlette_that_closes, _quart, _litestar, _falcon])
async def test_a_commit_that_fails_at_the_handshake_is_a_500(serve: Serve, connection: DBConnect, make: Any) -> None:
    app = make(connection)
    setup_db(app, [connection])
    async with serve(app, 5) as port, aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await client.ws_connect(f"http://127.0.0.1:{port}/")
        assert refusal.value.status == 500
        assert in_use(connection) == 0


async def test_a_refusal_with_a_status_after_a_failed_commit_is_the_applications(connection: DBConnect) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await run(connection, FAILING_COMMIT)
        try:
            await send({"type": "websocket.accept"})
        except IntegrityError:
            await send({"type": "websocket.http.response.start", "status": 409, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"taken"})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    arguments: Any = ({"type": "websocket"}, None, send)
    await DBContextMiddleware(app, Lifecycle())(*arguments)
    assert [message.get("status") for message in sent] == [409, None]
