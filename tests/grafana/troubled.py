"""An application in which everything goes wrong that the dashboards and alerts are about."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, Callable

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
# Longer than Prometheus waits between two scrapes, so that each hold is seen.
_HOLD_SECONDS = 1.2
_ROUNDS = 5


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
        self.trace_ids: set[str] = set()

    async def happen(self, listener: socket.socket, is_watched: Callable[[], bool]) -> None:
        """Serve the application, and make everything go wrong a few times once it is watched."""
        async with self._served(listener) as http:
            await until(is_watched, "the first scrape")
            for number in range(_ROUNDS):
                await self._exhaust(http)
                for path in ("/orders/1", "/orders/2", "/failing", "/impatient", "/shed", "/commit"):
                    await http.get(path)
                # It kills all connections: some rounds without it must see the others' trouble undisturbed.
                if number % 2:
                    await self._interrupt_a_commit(http)

    async def _exhaust(self, http: ClientSession) -> None:
        """Hold all connections, while others want one all the time."""

        async def want() -> None:
            until = time.monotonic() + _HOLD_SECONDS
            while time.monotonic() < until:
                await http.get("/quick")

        holds = [http.get("/hold") for _ in range(POOL_SIZE)]
        await asyncio.gather(*holds, want(), want())

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
            async with ClientSession(url, timeout=ClientTimeout(total=10)) as http:
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
        await asyncio.sleep(_HOLD_SECONDS)
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


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception as error:  # noqa: BLE001 - what goes wrong is counted by the metrics
        return web.Response(status=500, text=repr(error))
