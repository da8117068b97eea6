"""sanic-testing's clients: the server of ``test_client``, and ``asgi_client`` in the task of the test."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
from sanic import HTTPResponse, Request, response
from sqlalchemy import text

from context_async_sqlalchemy import (
    DBConnect,
    commit_db_session,
    db_context,
    db_session,
    is_context_initiated,
    setup_db,
)
from context_async_sqlalchemy.test_utils import rolled_back, set_test_context
from tests.conformance.statements import run, write
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, Database

AnyRequest = Request[Any, Any]


@pytest.fixture
def tested(app: Any, connection: DBConnect) -> Any:
    # The clients' own listeners are deprecated ones.
    app.config.DEPRECATION_FILTER = "ignore"

    async def written(_request: AnyRequest) -> HTTPResponse:
        await write(connection, "by a request")
        session = await db_session(connection)
        return response.text(str(await session.scalar(text("SELECT count(*) FROM notes"))))

    async def refused(_request: AnyRequest) -> HTTPResponse:
        await write(connection, "discarded")
        return response.empty(status=422)

    async def failing(_request: AnyRequest) -> HTTPResponse:
        await run(connection, FAILING_COMMIT)
        return response.text("never")

    async def broken(_request: AnyRequest) -> HTTPResponse:
        await write(connection, "discarded")
        raise ZeroDivisionError

    for handler in (written, refused, failing, broken):
        app.add_route(handler, f"/{handler.__name__}")
    setup_db(app, [connection])
    return app


def test_the_test_client(tested: Any) -> None:
    for path, status in (("/written", 200), ("/refused", 422), ("/failing", 500), ("/broken", 500), ("/written", 200)):
        _, answer = tested.test_client.get(path)
        assert answer.status == status
    assert answer.text == "2"


def test_rolled_back_within_the_server_of_the_test_client(tested: Any, connection: DBConnect) -> None:
    stack = AsyncExitStack()

    async def enter(_app: Any) -> None:
        await stack.enter_async_context(rolled_back(connection))

    async def leave(_app: Any) -> None:
        await stack.aclose()

    # The client has an event loop of its own for each request, so the block is opened there.
    tested.register_listener(enter, "before_server_start")
    tested.register_listener(leave, "after_server_stop")
    for _ in range(2):
        _, answer = tested.test_client.get("/written")
        assert answer.text == "1"


async def test_the_asgi_client(tested: Any, connection: DBConnect, database: Database) -> None:
    for path, status in (("/written", 200), ("/refused", 422), ("/failing", 500), ("/broken", 500), ("/written", 200)):
        _, answer = await tested.asgi_client.get(path)
        assert answer.status == status
        assert in_use(connection) == 0
        assert not is_context_initiated()
    assert await database.notes() == ["by a request"] * 2
    # The request stays Sanic's current one in this task, but it has ended.
    async with db_context():
        await write(connection, "by the test")
    assert await database.notes() == ["by a request"] * 2 + ["by the test"]


async def test_rolled_back_around_the_asgi_client(tested: Any, connection: DBConnect, database: Database) -> None:
    async with rolled_back(connection) as session:
        for path, count in (("/written", "1"), ("/broken", None), ("/refused", None), ("/written", "2")):
            _, answer = await tested.asgi_client.get(path)
            assert count is None or answer.text == count
        assert await session.scalar(text("SELECT count(*) FROM notes")) == 2
    assert await database.notes() == []


async def test_a_context_that_the_test_has_opened_is_used_and_left_open(
    tested: Any, connection: DBConnect, database: Database
) -> None:
    async with set_test_context(auto_close=False):
        session = await db_session(connection)
        for path, status in (("/written", 200), ("/refused", 422), ("/written", 200)):
            _, answer = await tested.asgi_client.get(path)
            assert answer.status == status
            assert is_context_initiated()
            assert await db_session(connection) is session
            assert session.in_transaction()
        assert answer.text == "3"
        assert await database.notes() == []
        _, answer = await tested.asgi_client.get("/broken")
        assert answer.status == 500
        assert await session.scalar(text("SELECT count(*) FROM notes")) == 4
        await commit_db_session(connection)
    assert len(await database.notes()) == 4
    assert not is_context_initiated()
    await session.close()
