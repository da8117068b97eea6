"""Setting a Sanic application up: what is refused, and what an application may do beside."""

import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest
from sanic import HTTPResponse, Request, Sanic, SanicException, Websocket, response
from sanic.asgi import ASGIApp
from sanic.http.http1 import Http
from sanic.server.protocols.base_protocol import SanicProtocol
from sanic.signals import Event

from context_async_sqlalchemy import DBConnect, db_session, setup_db
from tests.adapters.sanic.serving import Answers, serving
from tests.conformance.statements import write
from tests.support.connections import in_use
from tests.support.database import Database
from tests.support.waiting import until

AnyRequest = Request[Any, Any]


@asynccontextmanager
async def _writing(app: Any, connection: DBConnect) -> AsyncGenerator[Answers]:
    """Serve a handler that writes a note, and one that fails after that."""

    async def written(_request: AnyRequest) -> HTTPResponse:
        await write(connection, "kept")
        return response.text("written")

    async def broken(_request: AnyRequest) -> HTTPResponse:
        await write(connection, "discarded")
        raise ZeroDivisionError

    app.add_route(written, "/written")
    app.add_route(broken, "/broken")
    setup_db(app, [connection])
    async with serving(app) as answers:
        yield answers
        await until(lambda: not app.ctx.db_lifecycle.live and not in_use(connection), "nothing is held")


def test_a_second_set_up_is_refused(app: Any, connection: DBConnect) -> None:
    setup_db(app, [connection])
    with pytest.raises(RuntimeError, match="called twice"):
        setup_db(app, [])


async def test_a_set_up_in_a_listener_is_refused_and_the_application_does_not_start(
    app: Any, connection: DBConnect
) -> None:
    async def too_late(app: Any) -> None:
        setup_db(app, [connection])

    app.add_route(_unreachable, "/")
    app.register_listener(too_late, "before_server_start")
    with pytest.raises(RuntimeError, match=r"after the application had started.*ignores new signals"):
        async with serving(app):
            pass


@pytest.mark.parametrize(("owner", "name"), [(Http, "response_func"), (ASGIApp, "send"), (SanicProtocol, "_task")])
def test_a_sanic_that_lacks_what_the_adapter_replaces_or_reads_is_refused(
    app: Any, connection: DBConnect, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(RuntimeError, match=rf"needs the attribute {owner.__qualname__}\.{name}, which Sanic"):
        setup_db(app, [connection])


def test_connections_are_checked(app: Any, connection: DBConnect) -> None:
    with pytest.raises(ValueError, match="given twice"):
        setup_db(app, [connection, connection])


async def test_two_applications_of_one_name_do_not_share_contexts(
    app: Any, connection: DBConnect, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SanicException, match="already in use"):
        Sanic("set-up")
    monkeypatch.setattr(Sanic, "test_mode", True)
    namesake: Any = Sanic("set-up", configure_logging=False)
    namesake.config.TOUCHUP = namesake.config.AUTO_EXTEND = False
    async with _writing(namesake, connection) as namesake_answers, _writing(app, connection) as answers:
        assert await answers("/written") == (200, "written")
        assert await namesake_answers("/written") == (200, "written")
    assert await database.notes() == ["kept"] * 2


AT_ANY_PRIORITY = pytest.mark.parametrize("priority", [0, 10_000])


@AT_ANY_PRIORITY
async def test_a_signal_handler_of_the_application_that_returns_something_does_not_prevent_the_end(
    app: Any, connection: DBConnect, database: Database, priority: int
) -> None:
    async def end_the_dispatch(**_: Any) -> bool:
        return True

    for event in (Event.HTTP_LIFECYCLE_RESPONSE, Event.HTTP_LIFECYCLE_EXCEPTION):
        app.signal(event, priority=priority)(end_the_dispatch)
    async with _writing(app, connection) as answers:
        assert await answers("/written") == (200, "written")
        assert (await answers("/broken"))[0] == 500
    assert await database.notes() == ["kept"]


@AT_ANY_PRIORITY
async def test_a_signal_handler_of_the_application_that_raises_does_so_after_the_commit(
    app: Any, connection: DBConnect, database: Database, priority: int
) -> None:
    async def refuse_success(response: HTTPResponse, **_: Any) -> None:
        if response.status == 200:
            raise ZeroDivisionError

    app.signal(Event.HTTP_LIFECYCLE_RESPONSE, priority=priority)(refuse_success)
    async with _writing(app, connection) as answers:
        assert [(await answers(path))[0] for path in ("/written", "/broken")] == [500, 500]
    assert await database.notes() == ["kept"]


@AT_ANY_PRIORITY
async def test_a_signal_handler_of_the_application_that_raises_at_an_exception_keeps_nothing(
    app: Any, connection: DBConnect, database: Database, priority: int
) -> None:
    async def fail(**_: Any) -> None:
        raise ZeroDivisionError

    app.signal(Event.HTTP_LIFECYCLE_EXCEPTION, priority=priority)(fail)
    async with _writing(app, connection) as answers:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await answers("/broken")
    assert await database.notes() == []


@AT_ANY_PRIORITY
async def test_a_signal_handler_of_the_application_does_not_prevent_the_commit_of_a_websocket(
    app: Any, connection: DBConnect, database: Database, priority: int
) -> None:
    async def end_the_dispatch(**_: Any) -> bool:
        return True

    async def chat(_request: AnyRequest, websocket: Websocket) -> None:
        await write(connection, "kept")
        await websocket.send("written")

    app.add_websocket_route(chat, "/chat")
    for sign in (1, -1):
        app.signal(Event.WEBSOCKET_HANDLER_AFTER, priority=sign * priority)(end_the_dispatch)
    async with _writing(app, connection) as answers, answers.websocket("/chat") as websocket:
        assert await websocket.receive_str() == "written"
        await websocket.receive()
        assert await database.notes() == ["kept"]


async def test_requests_that_have_ended_are_forgotten(app: Any, connection: DBConnect) -> None:
    async def nothing(_request: AnyRequest) -> HTTPResponse:
        return response.empty()

    app.add_route(nothing, "/nothing")
    async with _writing(app, connection) as answers:
        for path in ("/written", "/nothing") * 20:
            await answers(path)
        gc.collect()
        # The client's connection keeps its last request, the database's the one that it was made in.
        assert len(app.ctx.db_contexts) <= 2


async def test_without_a_lifespan_an_asgi_application_does_not_answer_and_connects_to_nothing(
    app: Any, connection: DBConnect
) -> None:
    app.add_route(_unreachable, "/")
    setup_db(app, [connection])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://served") as client:
        with pytest.raises(SanicException, match="after the app has started"):
            await client.get("/")
    assert connection.engine is None


async def test_middleware_that_uses_the_database_also_sees_what_could_not_be_parsed(
    app: Any, connection: DBConnect, database: Database
) -> None:
    async def log(request: AnyRequest) -> None:
        await write(connection, f"{request.method} {request.path}")

    async def answer(_request: AnyRequest, _error: Exception) -> HTTPResponse:
        await db_session(connection)
        return response.text("unreadable", status=200)

    app.on_request(log)
    app.error_handler.add(SanicException, answer)
    async with _writing(app, connection) as answers:
        assert await answers("/written") == (200, "written")
        answered = await answers.raw(b"GET /written HTTP/1.1\r\n\r\n" + b"NO REQUEST\r\n\r\n")
    assert answered.count(b"HTTP/1.1 200 OK") == 2
    assert answered.endswith(b"unreadable")
    assert await database.notes() == ["GET /written", "GET /written", "kept", "kept"]


async def _unreachable(_request: AnyRequest) -> HTTPResponse:
    raise AssertionError
