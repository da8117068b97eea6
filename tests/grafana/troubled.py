"""An application in which everything goes wrong that the dashboards and alerts are about."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator
from typing import Protocol

from aiohttp import ClientSession, ClientTimeout, web
from aiohttp.typedefs import Handler
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import format_trace_id
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, commit_db_session, db_session, new_non_ctx_session, setup_db
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.support.database import APPLICATION_NAME, FAILING_COMMIT, SLOW_COMMIT_STATEMENT, Database
from tests.support.waiting import until

POOL_SIZE = 2
_POOL_TIMEOUT = 0.3
_LEAK_THRESHOLD = 0.25
_LEAST_ROUNDS = 3
_MOST_ROUNDS = 12


class Watcher(Protocol):
    """Prometheus, as far as the trouble waits for it."""

    def has_scraped_since(self, instant: float) -> bool:
        """Tell whether a scrape that began after a Unix time has succeeded."""
        ...

    def has_seen_all(self) -> bool:
        """Tell whether everything was seen that the tests are about."""
        ...


class Trouble:
    """The application and what happens to it.

    Args:
        database: that it uses.

    Attributes:
        trace_ids: of all requests, as exemplars have them.

    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = DBConnect.from_url(
            database.url,
            name="main",
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=_POOL_TIMEOUT,
            connect_args={"server_settings": {"application_name": APPLICATION_NAME}},
        )
        self._shedding = DBConnect.from_url(
            database.url, name="shedding", pool_size=1, max_overflow=0, max_wait=_POOL_TIMEOUT / 10
        )
        self._tracer = TracerProvider().get_tracer("tests")
        self._holding = 0
        self._may_end = asyncio.Event()
        self.trace_ids: set[str] = set()

    async def happen(self, listener: socket.socket, watcher: Watcher) -> float:
        """Serve the application, and make everything go wrong until all of it was seen, but at most twelve times.

        Returns:
            the Unix time at which all of it had been scraped, and the application was still there.

        """
        async with self._served(listener) as http:
            await _scrape(watcher)
            for number in range(_MOST_ROUNDS):
                await self._exhaust(http, watcher)
                for path in ("/orders/1", "/orders/2", "/failing", "/impatient", "/shed", "/commit"):
                    await http.get(path)
                # It kills all connections: some rounds without it must see the others' trouble undisturbed.
                if number % 2:
                    await self._interrupt_a_commit(http)
                if number + 1 >= _LEAST_ROUNDS:
                    await _scrape(watcher)
                    if watcher.has_seen_all():
                        break
            return time.time()

    async def _exhaust(self, http: ClientSession, watcher: Watcher) -> None:
        """Hold all connections for two scrapes, while others want one all the time."""
        self._may_end.clear()

        async def want(later: float) -> None:
            # Otherwise both waits would end at the same time, and a scrape could find that nobody waits.
            await asyncio.sleep(later)
            while not self._may_end.is_set():
                await http.get("/quick")

        async with asyncio.TaskGroup() as requests:
            for _ in range(POOL_SIZE):
                requests.create_task(self._request(http, "/hold"))
            await until(lambda: self._holding == POOL_SIZE, "all connections are held")
            requests.create_task(want(0))
            requests.create_task(want(_POOL_TIMEOUT / 2))
            for _ in range(2):
                await _scrape(watcher)
            self._may_end.set()

    async def _request(self, http: ClientSession, path: str) -> None:
        await http.get(path)

    async def _interrupt_a_commit(self, http: ClientSession) -> None:
        async with self._database.gate_shut():
            request = asyncio.ensure_future(http.get("/commit"))
            await self._database.wait_for_statement("COMMIT")
            await self._database.terminate_backends()
            await request

    @contextlib.asynccontextmanager
    async def _served(self, listener: socket.socket) -> AsyncGenerator[ClientSession]:
        app = web.Application(middlewares=[self._trace, _answer_errors])
        app.add_routes(
            [
                web.get("/hold", self._hold),
                web.get("/quick", self._quick),
                web.get("/impatient", self._impatient),
                web.get("/shed", self._shed),
                web.get("/orders/{id}", self._order),
                web.get("/failing", self._failing),
                web.get("/commit", self._commit),
            ]
        )
        setup_db(
            app,
            [self._connection, self._shedding],
            position=2,
            observers=[PrometheusObserver(CollectorRegistry())],
            leak_threshold=_LEAK_THRESHOLD,
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with ClientSession(url, timeout=ClientTimeout(total=40)) as http:
                yield http
        finally:
            await runner.cleanup()

    @web.middleware
    async def _trace(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        with self._tracer.start_as_current_span(request.path):
            self.trace_ids.add(format_trace_id(trace.get_current_span().get_span_context().trace_id))
            return await handler(request)

    async def _execute(self, statement: str = "SELECT 1") -> None:
        session = await db_session(self._connection)
        await session.execute(text(statement))

    async def _hold(self, _request: web.Request) -> web.Response:
        await self._execute()
        self._holding += 1
        await asyncio.sleep(2 * _LEAK_THRESHOLD)
        await self._may_end.wait()
        self._holding -= 1
        return web.Response()

    async def _quick(self, _request: web.Request) -> web.Response:
        await self._execute()
        return web.Response()

    async def _impatient(self, _request: web.Request) -> web.Response:
        """Hold all connections, want one more, and lose patience."""
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(POOL_SIZE):
                session = await stack.enter_async_context(new_non_ctx_session(self._connection))
                await session.execute(text("SELECT 1"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POOL_TIMEOUT / 10):
                    await self._execute()
        return web.Response()

    async def _shed(self, _request: web.Request) -> web.Response:
        """Hold the only connection of a pool that sheds, and want one more."""
        async with new_non_ctx_session(self._shedding) as holder:
            await holder.execute(text("SELECT 1"))
            session = await db_session(self._shedding)
            await session.execute(text("SELECT 1"))
        return web.Response()

    async def _order(self, _request: web.Request) -> web.Response:
        await self._execute("INSERT INTO notes (body) VALUES ('order')")
        await commit_db_session(self._connection)
        await asyncio.sleep(_POOL_TIMEOUT / 10)
        await self._execute()
        return web.Response()

    async def _failing(self, _request: web.Request) -> web.Response:
        await self._execute(FAILING_COMMIT)
        return web.Response()

    async def _commit(self, _request: web.Request) -> web.Response:
        await self._execute(SLOW_COMMIT_STATEMENT)
        return web.Response()


async def _scrape(watcher: Watcher) -> None:
    now = time.time()
    await until(lambda: watcher.has_scraped_since(now), "a scrape")


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception as error:  # noqa: BLE001 - what goes wrong is counted by the metrics
        return web.Response(status=500, text=repr(error))
