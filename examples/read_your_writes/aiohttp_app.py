"""Read-your-own-writes on aiohttp."""

from aiohttp import web

from context_async_sqlalchemy import setup_db
from examples.read_your_writes.notes import add_note, list_notes
from examples.read_your_writes.positions import COOKIE, MAX_AGE, ReadYourWrites


def make_app(databases: ReadYourWrites) -> web.Application:
    """Make the application."""

    async def write(request: web.Request) -> web.Response:
        await add_note(databases.primary, request.match_info["body"])
        response = web.Response(status=201)
        response.set_cookie(COOKIE, await databases.commit(), max_age=MAX_AGE, secure=True, httponly=True)
        return response

    async def read(request: web.Request) -> web.Response:
        session = await databases.session(request.cookies.get(COOKIE))
        return web.json_response(await list_notes(session))

    app = web.Application()
    app.add_routes([web.post("/notes/{body}", write), web.get("/notes", read)])
    setup_db(app, [databases.primary, databases.replica])
    return app
