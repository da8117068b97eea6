"""The load: a closed loop finds out the capacity, and an open loop sends requests at a fixed rate."""

import asyncio
import math
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp


@dataclass
class Outcome:
    """What became of the requests that were sent within the measured seconds.

    Attributes:
        seconds: for how long requests were sent.
        served: seconds that each served request took, as its client saw it.
        shed: how many were answered by 503.
        given_up: how many were not answered before their clients gave up.

    """

    seconds: float
    served: list[float] = field(default_factory=list[float])
    shed: int = 0
    given_up: int = 0

    @property
    def served_per_second(self) -> float:
        """Requests that were served, of each second: the goodput."""
        return len(self.served) / self.seconds

    def percentile(self, share: float) -> float | None:
        """Return the seconds within which a share of the served requests was served; None if none was."""
        if not self.served:
            return None
        return sorted(self.served)[min(len(self.served) - 1, math.ceil(share * len(self.served)) - 1)]


async def capacity(url: str, clients: int, seconds: float) -> float:
    """Return how many requests a second are served to clients that each send the next one after an answer.

    Args:
        url: the URL to request.
        clients: how many clients there are: as many as the pool has connections.
        seconds: for how long they send requests.

    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    served = 0

    async def send(session: aiohttp.ClientSession) -> None:
        nonlocal served
        while loop.time() < ends_at:
            async with session.get(url) as response:
                await response.read()
            served += response.status == HTTPStatus.OK

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(send(session) for _ in range(clients)))
    return served / seconds


async def open_loop(url: str, rate: float, warm_up: float, seconds: float, patience: float) -> Outcome:
    """Send requests at a fixed rate, whether or not earlier ones were answered, as independent clients do.

    Args:
        url: the URL to request.
        rate: requests a second.
        warm_up: seconds of load before the measurement, so that the queue has filled.
        seconds: seconds of load that are measured.
        patience: seconds after which a client gives up.

    """
    loop = asyncio.get_running_loop()
    outcome = Outcome(seconds)

    async def send(session: aiohttp.ClientSession, *, is_measured: bool) -> None:
        began_at = loop.time()
        try:
            async with session.get(url) as response:
                await response.read()
        except TimeoutError:
            outcome.given_up += is_measured
            return
        if is_measured and response.status == HTTPStatus.SERVICE_UNAVAILABLE:
            outcome.shed += 1
        elif is_measured and response.status == HTTPStatus.OK:
            outcome.served.append(loop.time() - began_at)

    timeout = aiohttp.ClientTimeout(total=patience)
    connector = aiohttp.TCPConnector(limit=0)
    began_at = loop.time()
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as requests:
        for number in range(round(rate * (warm_up + seconds))):
            due = number / rate
            await asyncio.sleep(began_at + due - loop.time())
            requests.create_task(send(session, is_measured=due >= warm_up))
    return outcome
