"""A planned switch under load, both hosts alive: sessions in flight finish where they began, new ones go to the new."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, commit_db_session, db_session, setup_db
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.adapters.opentelemetry.traces import Traces
from tests.docs.hosts.pair import Pair, connections_to, host_of
from tests.docs.hosts.service import serving
from tests.support.connections import connect_to
from tests.support.recorder import Recorder
from tests.support.waiting import until, until_async

IN_FLIGHT = 3
CLIENTS = 5
PORT = text("SELECT inet_server_port()")


class SwitchedService:
    """Its handlers tell on which host they are: GET /where, and GET /held, which asks again when the gate is open."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.gate = asyncio.Event()
        self.recorder = Recorder()
        self.traces = Traces()
        self.connection: DBConnect = connect_to(pair.primary.url(), pool_size=5)
        self.app = web.Application()
        self.app.add_routes(
            [web.get("/where", self.where), web.get("/held", self.held), web.post("/switch", self.switch)]
        )
        observers = [
            self.recorder,
            PrometheusObserver(CollectorRegistry()),
            OpenTelemetryObserver(tracer_provider=self.traces.provider),
        ]
        setup_db(self.app, [self.connection], observers=observers)

    async def where(self, _request: web.Request) -> web.Response:
        session = await db_session(self.connection)
        return web.Response(text=f"{await session.scalar(PORT)} {await session.scalar(PORT)}")

    async def held(self, _request: web.Request) -> web.Response:
        session = await db_session(self.connection)
        first = await session.scalar(PORT)
        await self.gate.wait()
        second = await session.scalar(PORT)
        await commit_db_session(self.connection)
        third = await session.scalar(PORT)
        return web.Response(text=f"{first} {second} {third}")

    async def switch(self, _request: web.Request) -> web.Response:
        await self.connection.change_host(host_of(self._pair.replica))
        return web.Response()


class Client:
    """Requests of the service.

    Args:
        url: of the service.
        session: whose connections are used.

    """

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def get(self, path: str) -> str:
        async with self._session.get(f"{self._url}{path}") as response:
            assert response.status == 200, await response.text()
            return await response.text()

    async def switch(self) -> None:
        async with self._session.post(f"{self._url}/switch") as response:
            assert response.status == 200

    async def servers(self) -> dict[int, float]:
        """Scrape how many connections lead to which port."""
        families = text_string_to_metric_families(await self.get("/metrics"))
        (family,) = (family for family in families if family.name == "db_session_server_connections")
        return {int(sample.labels["server_port"]): sample.value for sample in family.samples}

    @asynccontextmanager
    async def asking(self, answers: list[str], clients: int) -> AsyncGenerator[None]:
        """Ask /where again and again during the block."""
        is_over = False

        async def ask() -> None:
            while not is_over:
                answers.append(await self.get("/where"))

        tasks = [asyncio.create_task(ask()) for _ in range(clients)]
        try:
            yield
        finally:
            is_over = True
            await asyncio.gather(*tasks)


async def test_sessions_in_flight_finish_on_the_old_host_and_new_ones_go_to_the_new(lasting_pair: Pair) -> None:
    pair = lasting_pair
    old, new = pair.primary.address[1], pair.replica.address[1]
    switched = SwitchedService(pair)
    answers: list[str] = []
    async with serving(switched.app) as url, aiohttp.ClientSession() as session:
        client = Client(url, session)
        in_flight = [asyncio.create_task(client.get("/held")) for _ in range(IN_FLIGHT)]

        async def all_are_held() -> bool:
            return await connections_to(pair.primary) == IN_FLIGHT

        await until_async(all_are_held, "the requests hold their connections")
        async with client.asking(answers, clients=CLIENTS):
            await until(lambda: len(answers) > 50, "requests before the switch")
            assert (await client.servers()).keys() == {old}
            # Those who race for it make one switch.
            await asyncio.gather(*(client.switch() for _ in range(10)))
            begun = len(answers)
            await until(lambda: len(answers) > begun + 50, "requests after the switch")
            assert [pool.server_port for pool in switched.recorder.pools] == [old, new]

            # The idle connections of the old host are closed, those that are held are not.
            await until_async(all_are_held, "the idle connections are closed")
            servers = await client.servers()
            assert servers[old] == IN_FLIGHT
            assert servers[new] > 0
            switched.gate.set()
            assert await asyncio.gather(*in_flight) == [f"{old} {old} {old}"] * IN_FLIGHT

            async def none_is_left() -> bool:
                return await connections_to(pair.primary) == 0

            await until_async(none_is_left, "no connection leads to the old host")
            assert (await client.servers()).keys() == {new}

        # Whatever the moment, a request was on one host; and from the switch on it was the new one.
        assert set(answers) == {f"{old} {old}", f"{new} {new}"}
        assert answers[begun:].count(f"{old} {old}") <= CLIENTS, "only those that were under way"
        spans = switched.traces.all("db.session main")
        ports = [span.attributes["server.port"] for span in spans if span.attributes is not None]
        assert len(ports) == len(answers) + IN_FLIGHT
        assert ports.count(old) == answers.count(f"{old} {old}") + IN_FLIGHT

    async def nothing_is_left() -> bool:
        return await connections_to(pair.replica) == 0

    await until_async(nothing_is_left, "the service has closed its connections")
