"""The service whose costs grow: aiohttp, with as many routes, databases and observers as the arguments say."""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import CollectorRegistry
from sqlalchemy import literal, select

from context_async_sqlalchemy import (
    DBConnect,
    commit_db_session,
    db_session,
    new_non_ctx_session,
    run_in_new_ctx,
    setup_db,
)
from context_async_sqlalchemy.observer import ObservedPool, Observer, ResourceRequest
from context_async_sqlalchemy_inspector import Inspector
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tools.benchmarks.servers import on_aiohttp

ONE = select(literal(1))

_PATIENCE = 600.0
"""Seconds that a checkout may wait. On a busy machine the last of 2,000 waits for a while."""

_INSPECTOR = "/_db"

_LOOKS_APART = 0.3
"""Seconds. A state of the inspector is shared for a quarter of a second."""

_JOBS = 400
"""How many jobs wait for a connection in one measurement, in rounds of as many as wait at once."""


class _Pools(Observer):
    """Knows the pools, so that the number of waits can be asked for."""

    def __init__(self) -> None:
        self.known: list[ObservedPool] = []

    def pool_observed(self, pool: ObservedPool) -> None:
        """Keep a pool."""
        self.known.append(pool)


class Service:
    """The handlers of the service, and what the measuring side asks for.

    Args:
        url: the database of all connections.
        routes: how many routes there are.
        databases: how many DBConnects there are, each with a pool of its own.
        pool_size: the connections of each pool.
        observers: how many observers there are: Prometheus, OpenTelemetry without sampling, the inspector.

    """

    def __init__(self, url: str, *, routes: int, databases: int, pool_size: int, observers: int) -> None:
        self._routes = routes
        self._connections = [
            DBConnect.from_url(
                url, name=f"database {number}", pool_size=pool_size, max_overflow=0, pool_timeout=_PATIENCE
            )
            for number in range(databases)
        ]
        self._prometheus = PrometheusObserver(CollectorRegistry())
        self._inspector = Inspector(_INSPECTOR, access=lambda _headers: "all")
        self._pools = _Pools()
        every = [
            self._prometheus,
            OpenTelemetryObserver(tracer_provider=TracerProvider(sampler=ALWAYS_OFF)),
            self._inspector,
        ]
        self._observers: Sequence[Observer] = (*every[:observers], self._pools) if observers else ()
        self._held = 0

    def application(self) -> web.Application:
        """Return the measured application."""
        app = web.Application()
        for number in range(self._routes):
            app.router.add_get(f"/route{number}/{{id}}", self._one_database)
        app.router.add_get("/every-database", self._every_database)
        app.router.add_get("/hold", self._hold)
        app.router.add_get("/hold-nothing", self._hold_nothing)
        setup_db(
            app, self._connections, observers=self._observers, metrics_path=None, max_routes=max(self._routes, 1) + 10
        )
        return app

    def control(self) -> web.Application:
        """Return the application that answers the measuring side, by nanoseconds of the processor in most cases."""
        app = on_aiohttp.control()
        answers: dict[str, Callable[[web.Request], Awaitable[int]]] = {
            "/scrape": self._scrape,
            "/look": self._look,
            "/waiting-checkouts": self._waiting_checkouts,
            "/memory": _memory,
            "/held": self._count_held,
        }
        for path, answer in answers.items():
            app.router.add_get(path, _written(answer))
        return app

    async def _one_database(self, request: web.Request) -> web.Response:
        connection = self._connections[int(request.match_info["id"]) % len(self._connections)]
        await (await db_session(connection)).execute(ONE)
        return web.Response()

    async def _every_database(self, _request: web.Request) -> web.Response:
        for connection in self._connections:
            await (await db_session(connection)).execute(ONE)
        return web.Response()

    async def _hold(self, request: web.Request) -> web.Response:
        await (await db_session(self._connections[0])).execute(ONE)
        # Otherwise only as many contexts could be open as the pool has connections.
        await commit_db_session(self._connections[0])
        return await self._hold_nothing(request)

    async def _hold_nothing(self, _request: web.Request) -> web.Response:
        """Stay in flight until the process ends."""
        self._held += 1
        await asyncio.Event().wait()
        return web.Response()

    async def _count_held(self, _request: web.Request) -> int:
        return self._held

    async def _scrape(self, _request: web.Request) -> int:
        before = time.process_time_ns()
        self._prometheus.expose("", "")
        return time.process_time_ns() - before

    async def _look(self, _request: web.Request) -> int:
        path = f"{_INSPECTOR}/state.json"
        (state,) = [each for each in self._inspector.resources() if each.path == path]
        await asyncio.sleep(_LOOKS_APART)
        before = time.process_time_ns()
        await state.answer(ResourceRequest(path, "", {}))
        return time.process_time_ns() - before

    async def _waiting_checkouts(self, request: web.Request) -> int:
        """Answer with what one job takes that waits for a connection while ``at-once`` others do so."""
        at_once = int(request.query["at-once"])
        rounds = max(_JOBS // at_once, 1)
        taken = sum([await self._wait_together(at_once) for _ in range(rounds)])
        return taken // (rounds * at_once)

    async def _wait_together(self, jobs: int) -> int:
        connection, (pool, *_) = self._connections[0], self._pools.known

        async def job() -> None:
            await (await db_session(connection)).execute(ONE)

        # The pool has one connection.
        async with new_non_ctx_session(connection) as holder:
            await holder.execute(ONE)
            before = time.process_time_ns()
            waiting = [asyncio.create_task(run_in_new_ctx(job)) for _ in range(jobs)]
            while pool.read().pending < jobs:  # noqa: ASYNC110 - the pool has no event for it
                await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        return time.process_time_ns() - before


async def _memory(_request: web.Request) -> int:
    """Answer with the resident bytes of this process."""
    return _resident_bytes()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _written(answer: Callable[[web.Request], Awaitable[int]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def write(request: web.Request) -> web.Response:
        return web.Response(text=str(await answer(request)))

    return write


def main() -> None:
    """Serve until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=int, help="the processor that this process is pinned to")
    parser.add_argument("--routes", type=int, default=1)
    parser.add_argument("--databases", type=int, default=1)
    parser.add_argument("--pool-size", type=int, default=1)
    parser.add_argument("--observers", type=int, default=3)
    options: dict[str, Any] = vars(parser.parse_args())
    core = options.pop("core")
    if core is not None:
        os.sched_setaffinity(0, {core})
    service = Service(os.environ["DATABASE_URL"], **options)
    on_aiohttp.serve("service", service.application, service.control)


if __name__ == "__main__":
    main()
