"""The load: a fixed number of clients, each of which asks, reads the answer, pauses, and asks again."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from time import perf_counter

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from examples.shop.database import CUSTOMERS, PRODUCTS
from examples.shop.pool import CountingPool
from examples.shop.tally import PhaseTally, RouteTally

# About 110 requests a second, which leaves most of one processor idle. Every second one pays, for 60 ms and more:
# if the connection is held meanwhile, that is more than the three connections of the pool can do.
CLIENTS = 30
_PAUSE_SECONDS = 0.22
_TIMEOUT = ClientTimeout(total=60)
_NOBODY = 2**31 - 1

PAY_LATE = "POST /orders-late"
PAY_EARLY = "POST /orders-early"
INNOCENT = "GET /products/{id}"


@dataclass(frozen=True)
class _Route:
    """How a route is asked.

    Args:
        weight: its share in the mix.
        expected: the status that every answer should have.
        path: the path of a request.
        body: the JSON of a request.

    """

    weight: int
    expected: int
    path: Callable[[Random], str]
    body: Callable[[Random], object] = lambda _random: None


def _order(random: Random, customer_id: int | None = None) -> object:
    item = {"product_id": random.randint(1, PRODUCTS), "quantity": random.randint(1, 3)}
    return {"customer_id": customer_id or random.randint(1, CUSTOMERS), "items": [item]}


_ROUTES = {
    "GET /products": _Route(10, 200, lambda random: f"/products?after={random.randrange(PRODUCTS)}"),
    INNOCENT: _Route(30, 200, lambda random: f"/products/{random.randint(1, PRODUCTS)}"),
    "POST /orders": _Route(5, 201, lambda _random: "/orders", _order),
    PAY_LATE: _Route(50, 201, lambda _random: "/orders-late", _order),
    PAY_EARLY: _Route(50, 201, lambda _random: "/orders-early", _order),
    "GET /export": _Route(2, 200, lambda _random: "/export?at_most=100"),
    "POST /orders-impossible": _Route(
        3, 500, lambda _random: "/orders-impossible", lambda random: _order(random, _NOBODY)
    ),
}


class Phase:
    """A time under load, always with the same requests in the same order; only how orders are paid differs.

    The loop is closed: a client that has to wait asks nothing meanwhile. So a service that is slow gets fewer
    requests, and the difference between two phases is rather shown too small than too large.

    Args:
        name: what it is called on the screen.
        without: the routes that are left out.
        seconds: after which no client asks again.
        pool: whose counts belong to the tally.

    """

    def __init__(self, name: str, *, without: frozenset[str], seconds: float, pool: CountingPool) -> None:
        self.seconds = seconds
        self.pool = pool
        self._routes = {route: how for route, how in _ROUTES.items() if route not in without}
        self._started = 0.0
        self.tally = PhaseTally(name, {route: RouteTally(how.expected) for route, how in self._routes.items()})

    async def run(self, url: str, stop: asyncio.Event) -> None:
        """Run the clients until the time is over; requests that are under way then are waited for.

        Args:
            url: of the service.
            stop: ends the phase before its time.

        """
        self.pool.restart_counting()
        self._started = perf_counter()
        async with (
            ClientSession(url, connector=TCPConnector(limit=CLIENTS), timeout=_TIMEOUT) as http,
            asyncio.TaskGroup() as clients,
        ):
            for seed in range(CLIENTS):
                clients.create_task(self._client(http, Random(seed), stop))
        self.note()

    def note(self) -> None:
        """Bring time and counts of the tally up to date."""
        self.tally.seconds = perf_counter() - self._started
        self.tally.most_waiting, self.tally.had_to_wait = self.pool.most_waiting, self.pool.had_to_wait

    async def _client(self, http: ClientSession, random: Random, stop: asyncio.Event) -> None:
        names = list(self._routes)
        weights = [how.weight for how in self._routes.values()]
        while True:
            pause = random.uniform(0, 2 * _PAUSE_SECONDS)
            if stop.is_set() or perf_counter() + pause >= self._started + self.seconds:
                return
            await asyncio.sleep(pause)
            name = random.choices(names, weights)[0]
            how = self._routes[name]
            await self._ask(http, name, how.path(random), how.body(random))

    async def _ask(self, http: ClientSession, name: str, path: str, body: object) -> None:
        asked = perf_counter()
        try:
            async with http.request(name.partition(" ")[0], path, json=body) as response:
                await response.read()
                status = str(response.status)
        except (ClientError, TimeoutError) as error:
            status = type(error).__name__
        self.tally.routes[name].add(status, perf_counter() - asked)
