"""An application with an inspector, whose pool is exhausted on demand."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientSession, CookieJar, web
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, db_session, setup_db
from context_async_sqlalchemy_inspector import Inspector
from tests.support.connections import connect_to

TOKEN = "a-token-of-the-tests"  # noqa: S105 - of no real application


@dataclass
class Shop:
    """An application whose pool has one connection."""

    connection: DBConnect
    origin: str = ""
    paid: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """The URL of the inspector, with its token."""
        return f"{self.origin}/_db?token={TOKEN}"

    @asynccontextmanager
    async def order_in_payment(self, *, products: int = 1) -> AsyncGenerator[None]:
        """Hold the connection of the pool while an order is paid, and let others wait for it."""
        self.paid.clear()
        async with ClientSession(self.origin) as client, asyncio.TaskGroup() as tasks:
            tasks.create_task(_answered(client, "/orders"))
            await self._until(used=1, waiting=0)
            for _ in range(products):
                tasks.create_task(_answered(client, "/products"))
            await self._until(used=1, waiting=products)
            try:
                yield
            finally:
                self.paid.set()

    async def _until(self, *, used: int, waiting: int) -> None:
        # aiohttp keeps no cookies of an address without a name, unless it is told to.
        async with ClientSession(self.origin, cookie_jar=CookieJar(unsafe=True)) as client:
            async with client.get("/_db", params={"token": TOKEN}):
                pass
            while True:
                async with client.get("/_db/state.json") as response:
                    pools = (await response.json())["workers"][0]["pools"]
                if [(pool["used"], pool["waiting"]) for pool in pools] == [(used, waiting)]:
                    return
                await asyncio.sleep(0.01)


async def _answered(client: ClientSession, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 200


@asynccontextmanager
async def serving(database_url: str, name: str) -> AsyncGenerator[Shop]:
    """Serve a shop whose pool has a name."""
    connection = connect_to(database_url, name=name, pool_size=1, pool_timeout=60)
    served = Shop(connection)

    async def order(_request: web.Request) -> web.Response:
        await (await db_session(connection)).execute(text("SELECT 1"))
        await served.paid.wait()
        return web.Response()

    async def products(_request: web.Request) -> web.Response:
        await (await db_session(connection)).execute(text("SELECT 1"))
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/orders", order), web.get("/products", products)])
    setup_db(app, [connection], observers=[Inspector(token=TOKEN)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        served.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield served
    finally:
        await runner.cleanup()
