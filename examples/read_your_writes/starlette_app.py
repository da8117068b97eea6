"""Read-your-own-writes on Starlette; on FastAPI the handlers are the same."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from context_async_sqlalchemy import setup_db
from examples.read_your_writes.notes import add_note, list_notes
from examples.read_your_writes.positions import COOKIE, MAX_AGE, ReadYourWrites


def make_app(databases: ReadYourWrites) -> Starlette:
    """Make the application."""

    async def write(request: Request) -> Response:
        await add_note(databases.primary, request.path_params["body"])
        response = Response(status_code=201)
        response.set_cookie(COOKIE, await databases.commit(), max_age=MAX_AGE, secure=True, httponly=True)
        return response

    async def read(request: Request) -> Response:
        session = await databases.session(request.cookies.get(COOKIE))
        return JSONResponse(await list_notes(session))

    app = Starlette(routes=[Route("/notes/{body}", write, methods=["POST"]), Route("/notes", read)])
    setup_db(app, [databases.primary, databases.replica])
    return app
