"""Sessions as arguments of handlers, by Sanic Extensions."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NewType

import pytest
from sanic import HTTPResponse, Request, response
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect, db_session, setup_db
from context_async_sqlalchemy_sanic import session_of
from tests.adapters.sanic.serving import Answers, serving
from tests.support.connections import connect_to, in_use
from tests.support.database import Database

AnyRequest = Request[Any, Any]
Reports = NewType("Reports", AsyncSession)

INSERT = text("INSERT INTO notes (body) VALUES ('by the handler')")


@pytest.fixture
def extended(app: Any) -> Any:
    app.config.AUTO_EXTEND = True
    return app


@pytest.fixture
async def reports(database: Database) -> AsyncGenerator[DBConnect]:
    connection = connect_to(database.url, name="reports")
    yield connection
    await connection.close()


@asynccontextmanager
async def _answers(app: Any, *connections: DBConnect) -> AsyncGenerator[Answers]:
    setup_db(app, connections)
    async with serving(app) as answers:
        yield answers
        assert not any(map(in_use, connections))


async def test_a_handler_gets_the_session_of_the_only_connection(
    extended: Any, connection: DBConnect, database: Database
) -> None:
    async def handler(_request: AnyRequest, session: AsyncSession) -> HTTPResponse:
        assert session is await db_session(connection)
        await session.execute(INSERT)
        return response.empty()

    extended.add_route(handler, "/")
    async with _answers(extended, connection) as answers:
        assert [await answers("/") for _ in range(2)] == [(204, ""), (204, "")]
    assert await database.notes() == ["by the handler"] * 2


async def test_an_injected_session_is_rolled_back_like_any_other(
    extended: Any, connection: DBConnect, database: Database
) -> None:
    async def handler(_request: AnyRequest, session: AsyncSession) -> HTTPResponse:
        await session.execute(INSERT)
        return response.text("refused", status=422)

    extended.add_route(handler, "/")
    async with _answers(extended, connection) as answers:
        assert await answers("/") == (422, "refused")
    assert await database.notes() == []


async def test_a_type_names_one_of_several_connections(
    extended: Any, connection: DBConnect, reports: DBConnect
) -> None:
    async def handler(_request: AnyRequest, session: Reports) -> HTTPResponse:
        assert session is await db_session(reports)
        return response.empty()

    extended.add_route(handler, "/")
    extended.ext.add_dependency(Reports, session_of(reports))
    async with _answers(extended, connection, reports) as answers:
        assert (await answers("/"))[0] == 204


async def test_an_argument_that_does_not_name_one_of_several_connections_is_told_how_to(
    extended: Any, connection: DBConnect, reports: DBConnect
) -> None:
    async def handler(_request: AnyRequest, session: AsyncSession) -> HTTPResponse:
        raise AssertionError(session)

    async def tell(_request: AnyRequest, error: Exception) -> HTTPResponse:
        return response.text(str(error), status=500)

    extended.add_route(handler, "/")
    extended.error_handler.add(LookupError, tell)
    async with _answers(extended, connection, reports) as answers:
        status, message = await answers("/")
    assert status == 500
    assert "several connections ('main', 'reports')" in message
    assert "app.ext.add_dependency(Reports, session_of(reports))" in message


async def test_what_the_application_has_registered_itself_stays(
    extended: Any, connection: DBConnect, reports: DBConnect
) -> None:
    async def handler(_request: AnyRequest, session: AsyncSession) -> HTTPResponse:
        assert session is await db_session(reports)
        return response.empty()

    extended.add_route(handler, "/")
    extended.ext.add_dependency(AsyncSession, session_of(reports))
    async with _answers(extended, connection, reports) as answers:
        assert (await answers("/"))[0] == 204


async def test_an_application_needs_no_extensions(
    extended: Any, connection: DBConnect, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An import of it fails, as where it is not installed.
    monkeypatch.setitem(sys.modules, "sanic_ext", None)

    async def handler(_request: AnyRequest) -> HTTPResponse:
        await (await db_session(connection)).execute(INSERT)
        return response.empty()

    extended.add_route(handler, "/")
    async with _answers(extended, connection) as answers:
        assert (await answers("/"))[0] == 204
    assert not hasattr(extended, "_ext")
    assert await database.notes() == ["by the handler"]
