"""Applications for servers with several processes, in which the test says what each worker's pool is doing.

gunicorn tests.prometheus_adapter.served:make_aiohttp_app
sanic tests.prometheus_adapter.served:make_sanic_app --factory
"""

import json
import os
from typing import Any

from aiohttp import web
from sanic import HTTPResponse, Request, Sanic, response

from context_async_sqlalchemy import setup_db
from context_async_sqlalchemy.observer import PoolReading
from context_async_sqlalchemy_prometheus import default_observer
from tests.prometheus_adapter.records import FakePool, checkout, context_of

_pool = FakePool()


def _work(used: int) -> str:
    """Observe a checkout, and have that many more connections in use."""
    observer = default_observer()
    observer.pool_observed(_pool)
    observer.checkout_ended(checkout(_pool, context_of("GET /work")))
    _pool.reading = PoolReading(used=used, idle=1, pending=0, maximum=10, idle_maximum=5)
    return json.dumps({"pid": os.getpid()})


async def make_aiohttp_app() -> web.Application:
    """Make the application that gunicorn serves."""

    async def work(request: web.Request) -> web.Response:
        return web.Response(text=_work(int(request.query["used"])))

    app = web.Application()
    app.router.add_get("/work", work)
    setup_db(app, [], observers=[default_observer()])
    return app


def make_sanic_app() -> Any:
    """Make the application that Sanic serves."""

    async def work(request: Request[Any, Any]) -> HTTPResponse:
        return response.text(_work(int(request.args["used"][0])))

    app: Any = Sanic("served_by_several", configure_logging=False)
    app.add_route(work, "/work")
    setup_db(app, [], observers=[default_observer()])
    return app
