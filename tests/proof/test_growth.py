"""What the library does for a request depends neither on the routes of the application nor on the open contexts."""

import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from context_async_sqlalchemy import DBConnect, commit_db_session
from context_async_sqlalchemy_inspector import Inspector
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.conformance.aiohttp_driver import AiohttpDriver
from tests.conformance.asgi_driver import FastAPIDriver, StarletteDriver
from tests.conformance.driver import Driver, Exchange, Reply
from tests.conformance.sanic_driver import SanicDriver
from tests.conformance.service import Client, Service
from tests.conformance.statements import run
from tests.support.counting import executed
from tests.support.database import Database
from tests.support.waiting import until

_MANY = 90
"""Routes, and contexts. They are fewer than the connections that one client opens."""

_PLACES: Sequence[Driver] = (
    AiohttpDriver(""),
    SanicDriver(""),
    StarletteDriver("uvicorn"),
    FastAPIDriver("mounted-application-h11"),
)


@pytest.fixture(params=_PLACES, ids=lambda driver: driver.name)
def service(request: pytest.FixtureRequest, connection: DBConnect, database: Database) -> Service:
    """Give the test a service on each framework."""
    driver: Driver = request.param
    return Service(driver, connection, database)


async def _executed_for(service: Service, client: Client, path: str, others: int) -> int:
    """Return the least of some requests, because a few do what is due once a second."""
    counts: list[int] = []
    for _ in range(4):
        with executed() as counted:
            assert (await client.get(path))[0] == 200
            # The end of a context may come after the response.
            await until(lambda: service.driver.live_contexts() == others, "the context has ended")
        counts.append(counted.instructions)
    return min(counts)


async def _alone_and_among(service: Service, routes: int, contexts: int) -> tuple[int, int]:
    """Return what a request executes on the last of some routes, without others in flight and with them."""
    held, may_end = 0, asyncio.Event()

    async def use(_exchange: Exchange) -> Reply:
        await run(service.connection, "SELECT 1")
        return Reply()

    async def hold(exchange: Exchange) -> Reply:
        nonlocal held
        await use(exchange)
        await commit_db_session(service.connection)
        held += 1
        await may_end.wait()
        return Reply()

    observers = [PrometheusObserver(CollectorRegistry()), Inspector(access=lambda _headers: "all")]
    handlers = {f"/route{number}/{{id}}": use for number in range(routes)}
    async with service.running(hold, others=handlers, observers=observers) as client:
        for number in range(routes):
            await client.get(f"/route{number}/1")
        path = f"/route{routes - 1}/1"
        alone = await _executed_for(service, client, path, 0)
        holders = [asyncio.create_task(client.get()) for _ in range(contexts)]
        await until(lambda: held == contexts, "the contexts are open")
        among = await _executed_for(service, client, path, contexts)
        may_end.set()
        await asyncio.gather(*holders)
    return alone, among


async def test_a_request_executes_the_same_with_many_routes_and_among_many_contexts(service: Service) -> None:
    alone, _ = await _alone_and_among(service, 1, 0)
    alone_of_many, among_many = await _alone_and_among(service, _MANY, _MANY)
    # A loop over them takes a few instructions for each. Requests differ by some, because a histogram looks for the
    # bucket of a duration that is not among the shortest.
    assert max(alone, alone_of_many, among_many) - min(alone, alone_of_many, among_many) < _MANY
