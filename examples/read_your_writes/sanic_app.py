"""Read-your-own-writes on Sanic."""

from typing import Any

from sanic import HTTPResponse, Request, Sanic, response

from context_async_sqlalchemy import setup_db
from examples.read_your_writes.notes import add_note, list_notes
from examples.read_your_writes.positions import COOKIE, MAX_AGE, ReadYourWrites

AnyRequest = Request[Any, Any]


def make_app(databases: ReadYourWrites) -> Any:
    """Make the application."""

    async def write(_request: AnyRequest, body: str) -> HTTPResponse:
        await add_note(databases.primary, body)
        written = response.empty(status=201)
        written.add_cookie(COOKIE, await databases.commit(), max_age=MAX_AGE, secure=True, httponly=True)
        return written

    async def read(request: AnyRequest) -> HTTPResponse:
        session = await databases.session(request.cookies.get(COOKIE))
        return response.json(await list_notes(session))

    app: Any = Sanic("notes", configure_logging=False)
    app.add_route(write, "/notes/<body:str>", methods=["POST"])
    app.add_route(read, "/notes")
    setup_db(app, [databases.primary, databases.replica])
    return app
