"""Applications with an inspector for servers with several processes.

gunicorn tests.adapters.inspector.served:make_aiohttp_app
sanic tests.adapters.inspector.served:make_sanic_app --factory
"""

import os
from typing import Any

from aiohttp import web
from sanic import Sanic

from context_async_sqlalchemy import DBConnect, setup_db
from context_async_sqlalchemy_inspector import Inspector

URL = "DATABASE_UNDER_TEST"


def _connection() -> DBConnect:
    return DBConnect.from_url(os.environ[URL], name="main")


async def make_aiohttp_app() -> web.Application:
    """Make the application that gunicorn serves."""
    app = web.Application()
    setup_db(app, [_connection()], observers=[Inspector()])
    return app


def make_sanic_app() -> Sanic[Any, Any]:
    """Make the application that Sanic serves."""
    app = Sanic("inspected")
    setup_db(app, [_connection()], observers=[Inspector()])
    return app
