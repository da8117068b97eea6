"""A service under test, its clients, and what must hold after every request, whatever it did."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from context_async_sqlalchemy import DBConnect
from tests.conformance.driver import Driver, Handler, MapErrors, Setup
from tests.support.connections import in_use
from tests.support.database import Database
from tests.support.waiting import until, until_async

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def request_under(prefix: str) -> bytes:
    """Return a request for the handler of a case, under the prefix of a driver."""
    return REQUEST.replace(b"GET /", f"GET {prefix}/".encode())


class RawClient:
    """A client that sees bytes, and can hang up."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, prefix: str) -> None:
        self.reader = reader
        self._writer = writer
        self._request = request_under(prefix)

    def send(self, data: bytes | None = None, *, headers: bytes = b"") -> None:
        """Send bytes; by default a request, with more headers, each ended by a line break."""
        request = self._request.replace(b"\r\n\r\n", b"\r\n" + headers + b"\r\n")
        self._writer.write(request if data is None else data)

    def hang_up(self) -> None:
        """Reset the connection, as a client that goes away does."""
        self._writer.transport.abort()


class Client:
    """Clients of a running service.

    Args:
        port: where it listens.
        path: the path of the handler under test, under the prefix.
        prefix: the prefix of the driver.

    """

    def __init__(self, port: int, path: str, prefix: str = "") -> None:
        self.port = port
        self._prefix = prefix
        self._root = f"http://127.0.0.1:{port}{prefix}"
        self._url = f"{self._root}{path}"
        self._session = aiohttp.ClientSession()

    async def close(self) -> None:
        """Close the connections to the service."""
        await self._session.close()

    async def get(self, path: str | None = None) -> tuple[int, str]:
        """Request the handler under test, or another path, without following redirects; return status and body."""
        url = self._url if path is None else f"{self._root}{path}"
        async with self._session.get(url, allow_redirects=False) as response:
            return response.status, await response.text()

    @asynccontextmanager
    async def streaming(self, path: str | None = None) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Request the handler, or another path, and read its body piece by piece."""
        async with self._session.get(self._url if path is None else f"{self._root}{path}") as response:
            yield response

    @asynccontextmanager
    async def websocket(self) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
        """Open a websocket to the handler."""
        async with self._session.ws_connect(f"{self._url}websocket") as websocket:
            yield websocket

    @asynccontextmanager
    async def raw(self) -> AsyncGenerator[RawClient]:
        """Open a TCP connection to the service."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield RawClient(reader, writer, self._prefix)
        finally:
            writer.transport.abort()


class Service:
    """Starts applications on one framework, and knows what must hold after every request.

    Args:
        driver: the framework.
        connection: the database that handlers use.
        database: the same database, looked at from outside.

    """

    def __init__(self, driver: Driver, connection: DBConnect, database: Database) -> None:
        self.driver = driver
        self.connection = connection
        self.database = database

    @asynccontextmanager
    async def running(
        self,
        handler: Handler,
        *,
        connections: Sequence[DBConnect] | None = None,
        map_errors: MapErrors | None = None,
        others: Mapping[str, Handler] | None = None,
        mounted: bool = False,
        grace: float = 5.0,
        **options: Any,
    ) -> AsyncGenerator[Client]:
        """Serve a handler; at the end of the block nothing may be held any more, and the service stops."""
        used = [self.connection] if connections is None else list(connections)
        setup = Setup(handler, used, options, map_errors=map_errors, others=others or {}, mounted=mounted, grace=grace)
        async with self.driver.serving(setup) as port:
            client = Client(port, "/mounted/" if mounted else "/", self.driver.prefix)
            try:
                yield client
                await self.nothing_is_held(used)
            finally:
                await client.close()

    async def nothing_is_held(self, connections: Sequence[DBConnect] | None = None) -> None:
        """Wait until every context has ended, the pools have all connections back, and no transaction is open."""
        await self.all_is_back([self.connection] if connections is None else connections)

        async def none_idle_in_transaction() -> bool:
            return await self.database.backends("state LIKE 'idle in transaction%'") == 0

        await until_async(none_idle_in_transaction, "no server process is idle in transaction")

    async def every_context_has_ended(self) -> None:
        """Wait for the requests that are answered: middlewares and background tasks may end later than the response."""
        await until(lambda: self.driver.live_contexts() == 0, "every context has ended")
        # A context without a session is not counted.
        for _ in range(100):
            await asyncio.sleep(0)

    async def all_is_back(self, connections: Sequence[DBConnect]) -> None:
        """Wait until every context has ended and the pools have all connections back."""
        await until(lambda: self.driver.live_contexts() == 0, "every context has ended")
        await until(lambda: not any(map(in_use, connections)), "every connection is back in its pool")
