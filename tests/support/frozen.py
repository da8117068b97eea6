"""A database behind a proxy, so that a test can freeze one connection's server."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import make_url

from context_async_sqlalchemy import DBConnect
from tests.support.connections import connect_to
from tests.support.proxy import Proxy


@asynccontextmanager
async def behind_proxy(url: str, **options: Any) -> AsyncGenerator[tuple[DBConnect, Proxy]]:
    """Connect to a database through a proxy; the connection is closed at the end of the block."""
    address = make_url(url)
    async with Proxy(str(address.host), address.port or 5432) as proxy:
        through = address.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        connection = connect_to(through, **options)
        try:
            yield connection, proxy
        finally:
            proxy.thaw()
            await connection.close()
