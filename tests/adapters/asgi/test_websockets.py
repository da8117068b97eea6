"""What an application answers to the handshake of a websocket decides, as a status does."""

from typing import Any

import pytest

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import Lifecycle
from context_async_sqlalchemy_asgi import DBContextMiddleware
from context_async_sqlalchemy_asgi.protocol import Message, Receive, Scope, Send
from tests.conformance.statements import write
from tests.support.connections import in_use
from tests.support.database import Database


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
