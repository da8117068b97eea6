"""The route that observers are told, where one route serves several methods."""

from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from context_async_sqlalchemy import DBConnect, setup_db
from tests.conformance.statements import run
from tests.support.recorder import Recorder


async def test_a_route_for_any_method_is_named_by_the_method_of_each_request(
    connection: DBConnect, aiohttp_client: AiohttpClient
) -> None:
    recorder = Recorder()

    async def handler(_request: web.Request) -> web.Response:
        await run(connection, "SELECT 1")
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/notes/{id}", handler)
    setup_db(app, [connection], observers=[recorder])
    client = await aiohttp_client(app)
    for method in ("GET", "POST", "GET"):
        assert (await client.request(method, "/notes/1")).status == 200
    assert [checkout.route for checkout in recorder.checkouts] == [
        "GET /notes/{id}",
        "POST /notes/{id}",
        "GET /notes/{id}",
    ]
