"""Streams that Sanic sends after the handler has returned, and files."""

from pathlib import Path
from typing import Any

import pytest
from sanic import Request, response
from sanic.response import ResponseStream
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, db_session, setup_db
from tests.adapters.sanic.serving import begin, is_cut, received, serving
from tests.conformance.statements import run, write
from tests.support.connections import in_use
from tests.support.database import FAILING_COMMIT, Database

AnyRequest = Request[Any, Any]

LENGTH = pytest.mark.parametrize("length", [None, 5], ids=["chunked", "content-length"])


async def test_the_function_of_a_response_stream_shares_the_session_of_its_handler(
    app: Any, connection: DBConnect, database: Database
) -> None:
    held: list[int] = []
    committed: list[list[str]] = []

    async def handler(_request: AnyRequest) -> ResponseStream:
        await write(connection, "by the handler")
        session = await db_session(connection)

        async def send(stream: Any) -> None:
            await write(connection, "before the headers")
            await stream.write("started ")
            held.append(in_use(connection))
            committed.append(await database.notes())
            assert await db_session(connection) is session
            await write(connection, "after the headers")
            await stream.write("done")

        return ResponseStream(send)

    app.add_route(handler, "/")
    setup_db(app, [connection])
    async with serving(app) as answers:
        assert await answers("/") == (200, "started done")
        assert in_use(connection) == 0
    assert held == [0]
    assert committed == [["before the headers", "by the handler"]]
    assert await database.notes() == ["after the headers", "before the headers", "by the handler"]


@pytest.mark.parametrize("kind", ["file", "file_stream"])
async def test_a_file_is_sent_after_the_commit(
    app: Any, connection: DBConnect, database: Database, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("content")
    send: Any = {"file": response.file, "file_stream": response.file_stream}[kind]

    async def downloaded(_request: AnyRequest) -> Any:
        await write(connection, "downloaded")
        return await send(path)

    async def failing(_request: AnyRequest) -> Any:
        await run(connection, FAILING_COMMIT)
        return await send(path)

    app.add_route(downloaded, "/downloaded")
    app.add_route(failing, "/failing")
    setup_db(app, [connection])
    async with serving(app) as answers:
        assert await answers("/downloaded") == (200, "content")
        assert await database.notes() == ["downloaded"]
        assert in_use(connection) == 0
        assert (await answers("/failing"))[0] == 500
        assert in_use(connection) == 0
    assert await database.notes("unique_notes") == []


async def test_a_handler_may_work_on_after_the_end_of_its_stream(
    app: Any, connection: DBConnect, database: Database
) -> None:
    async def handler(request: Any) -> None:
        stream = await request.respond()
        await stream.send("sent")
        await stream.eof()
        session = await db_session(connection)
        await session.execute(text("INSERT INTO notes (body) VALUES ('after the end')"))

    app.add_route(handler, "/")
    setup_db(app, [connection])
    async with serving(app) as answers:
        for _ in range(2):
            assert await answers("/") == (200, "sent")
    assert await database.notes() == ["after the end"] * 2


@LENGTH
@pytest.mark.parametrize("first_use", ["before the headers", "after the headers"])
async def test_the_work_of_a_stream_is_committed_before_the_stream_ends_its_own_body(
    app: Any, connection: DBConnect, database: Database, length: int | None, first_use: str
) -> None:
    seen: list[list[str]] = []

    async def handler(request: Any) -> None:
        if first_use == "before the headers":
            await write(connection, "before")
        stream = await begin(request, length)
        await write(connection, "during")
        if length is None:
            await stream.send(" !")
            await stream.eof()
        else:
            await stream.send(" !")
        seen.append(await database.notes())

    app.add_route(handler, "/")
    setup_db(app, [connection])
    async with serving(app) as answers:
        # On a connection that is kept alive.
        assert await answers("/") == (200, "all !")
        assert await answers("/") == (200, "all !")
    assert seen[0] == (["before", "during"] if first_use == "before the headers" else ["during"])


@LENGTH
async def test_a_stream_that_ends_its_own_body_is_cut_if_its_commit_fails(
    app: Any, connection: DBConnect, database: Database, length: int | None
) -> None:
    async def handler(request: Any) -> None:
        stream = await begin(request, length)
        await run(connection, FAILING_COMMIT)
        await stream.send(" !")
        await stream.eof()

    app.add_route(handler, "/")
    setup_db(app, [connection])
    async with serving(app) as answers:
        assert is_cut(await received(answers))
    assert await database.notes("unique_notes") == []
