"""Streams that an exception ends after their headers."""

from typing import Any

import pytest
from sanic import Request, SanicException, response

from context_async_sqlalchemy import (
    DBConnect,
    Retry,
    atomic_db_session,
    commit_db_session,
    db_context,
    retried,
    setup_db,
)
from tests.adapters.sanic.serving import begin, is_cut, received, serving
from tests.conformance.statements import run
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, Database
from tests.support.waiting import until

AnyRequest = Request[Any, Any]


async def _fail_in_atomic(connection: DBConnect) -> None:
    async with atomic_db_session(connection):
        await run(connection, FAILING_COMMIT)


async def _fail_in_db_context(connection: DBConnect) -> None:
    async with db_context():
        await run(connection, FAILING_COMMIT)


async def _fail_in_retried(connection: DBConnect) -> None:
    await retried(Retry())(run)(connection, FAILING_COMMIT)


async def _fail_in_commit(connection: DBConnect) -> None:
    await run(connection, FAILING_COMMIT)
    await commit_db_session(connection)


@pytest.mark.parametrize("fail", [_fail_in_atomic, _fail_in_db_context, _fail_in_retried, _fail_in_commit])
@pytest.mark.parametrize("mapped", [False, True])
async def test_a_stream_whose_work_was_lostis_cut(
    app: Any, connection: DBConnect, database: Database, fail: Any, mapped: bool
) -> None:
    async def handler(request: Any) -> None:
        await begin(request)
        await fail(connection)

    async def answer_409(_request: AnyRequest, _error: Exception) -> response.HTTPResponse:
        return response.text("mapped", status=409)

    if mapped:
        app.error_handler.add(Exception, answer_409)
    app.add_route(handler, "/")
    setup_db(app, [connection])
    async with serving(app) as answers:
        assert is_cut(await received(answers))
    assert await database.notes("unique_notes") == []


@pytest.mark.parametrize("statement", ["INSERT INTO notes (body) VALUES ('kept')", FAILING_COMMIT])
async def test_an_exception_after_the_headers_that_is_a_success_ends_the_context(
    app: Any, connection: DBConnect, database: Database, statement: str
) -> None:
    async def handler(request: Any) -> None:
        await begin(request)
        await run(connection, statement)
        raise SanicException("done", status_code=200)

    app.add_route(handler, "/")
    setup_db(app, [connection])
    async with serving(app) as answers:
        if statement == FAILING_COMMIT:
            assert is_cut(await received(answers))
        else:
            assert await answers("/") == (200, "all")

        # The client's connection is kept alive.
        await until(lambda: not in_use(connection) and not app.ctx.db_lifecycle.live, "nothing is held")
    assert await database.notes() == ([] if statement == FAILING_COMMIT else ["kept"])
