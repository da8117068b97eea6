"""The load: requests that arrive at a fixed rate, as those of users do, whether or not earlier ones are answered."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from random import Random
from time import perf_counter

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from examples.shop.database import CUSTOMERS, PRODUCTS
from examples.shop.pool import CountingPool
from examples.shop.tally import PhaseTally, RouteTally

RATE = 60
"""Requests that arrive each second. Two of five pay, so 24 orders a second are paid.

If an order holds its connection for the 0.15 seconds of the payment, 24 orders a second need four connections. The
pool has three, so the queue grows for as long as the load lasts. Without the payments all requests together need less
than one connection.
"""
_TIMEOUT = ClientTimeout(total=60)
_SAMPLES = 40
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
    "GET /products": _Route(8, 200, lambda random: f"/products?after={random.randrange(PRODUCTS)}"),
    INNOCENT: _Route(44, 200, lambda random: f"/products/{random.randint(1, PRODUCTS)}"),
    "POST /orders": _Route(4, 201, lambda _random: "/orders", _order),
    PAY_LATE: _Route(40, 201, lambda _random: "/orders-late", _order),
    PAY_EARLY: _Route(40, 201, lambda _random: "/orders-early", _order),
    "GET /export": _Route(2, 200, lambda _random: "/export?at_most=100"),
    "POST /orders-impossible": _Route(
        2, 500, lambda _random: "/orders-impossible", lambda random: _order(random, _NOBODY)
    ),
}


class Phase:
    """A time under load. Every phase has the same requests at the same times, but for the way in which orders are paid.

    Args:
        name: the name of the phase on the screen.
        without: the routes that get no requests.
        seconds: how long requests arrive.
        pool: the pool whose counts belong to the tally.

    """

    def __init__(self, name: str, *, without: frozenset[str], seconds: float, pool: CountingPool) -> None:
        self.seconds = seconds
        self.pool = pool
        self._routes = {route: how for route, how in _ROUTES.items() if route not in without}
        self._started = 0.0
        self.tally = PhaseTally(name, {route: RouteTally(how.expected) for route, how in self._routes.items()})

    async def run(self, url: str, stop: asyncio.Event) -> None:
        """Send requests until the time is over, and wait for their answers.

        Args:
            url: of the service.
            stop: ends the phase before its time.

        """
        self.pool.restart_counting()
        self._started = perf_counter()
        async with (
            ClientSession(url, connector=TCPConnector(limit=0), timeout=_TIMEOUT) as http,
            asyncio.TaskGroup() as tasks,
        ):
            sampling = tasks.create_task(self._sample())
            requests = [tasks.create_task(request) async for request in self._arrivals(http, stop)]
            await asyncio.gather(*requests)
            sampling.cancel()
        self.note()

    def note(self) -> None:
        """Bring the time and the counts of the tally up to date."""
        self.tally.seconds = perf_counter() - self._started
        self.tally.most_waiting, self.tally.had_to_wait = self.pool.most_waiting, self.pool.had_to_wait

    async def _arrivals(self, http: ClientSession, stop: asyncio.Event) -> AsyncGenerator[Coroutine[None, None, None]]:
        random = Random(0)
        names = list(self._routes)
        weights = [how.weight for how in self._routes.values()]
        for number in range(int(self.seconds * RATE)):
            # A time that is over already costs no wait, so that a late request does not delay those after it.
            await asyncio.sleep(self._started + number / RATE - perf_counter())
            if stop.is_set():
                return
            name = random.choices(names, weights)[0]
            how = self._routes[name]
            yield self._ask(http, name, how.path(random), how.body(random))

    async def _sample(self) -> None:
        while True:
            self.tally.waiting.append(self.pool.waiting)
            await asyncio.sleep(self.seconds / _SAMPLES)

    async def _ask(self, http: ClientSession, name: str, path: str, body: object) -> None:
        asked = perf_counter()
        try:
            async with http.request(name.partition(" ")[0], path, json=body) as response:
                await response.read()
                status = str(response.status)
        except (ClientError, TimeoutError) as error:
            status = type(error).__name__
        self.tally.routes[name].add(status, perf_counter() - asked)
