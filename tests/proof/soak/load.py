"""Clients that send a mix of requests; half of them hang up."""

import asyncio
import random
from dataclasses import dataclass, field

from tests.proof.soak.work import KINDS
from tests.support.waiting import turns, until

HANG_UPS = 0.5
FAILING_COMMITS = 0.08
_LONGEST_PATIENCE = 0.01


@dataclass
class Load:
    """Requests to one server, in an order that the seed gives.

    Args:
        port: of the server, on 127.0.0.1.
        clients: how many there are at a time. The work of a request may take two connections.
        seed: of the random choices.

    """

    port: int
    clients: int = 8
    seed: int = 0
    sent: int = 0
    statuses: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - no secret

    async def send(self, count: int) -> None:
        """Send that many requests, a few at a time; return when the last is answered."""
        left = iter(range(count))

        async def client() -> None:
            for _ in left:
                await self._request()

        await asyncio.gather(*(client() for _ in range(self.clients)))

    async def _request(self) -> None:
        self.sent += 1
        others = [kind for kind in KINDS if kind != "failing"]
        kind = "failing" if self._random.random() < FAILING_COMMITS else self._random.choice(others)
        hangs_up = self._random.random() < HANG_UPS
        patience = self._random.uniform(0, _LONGEST_PATIENCE)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET /{kind} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        try:
            if hangs_up:
                await asyncio.sleep(patience)
            else:
                answer = await reader.read()
                status = answer[9:12].decode()
                self.statuses[status] = self.statuses.get(status, 0) + 1
        finally:
            writer.transport.abort()


async def calm(idle: int) -> None:
    """Wait until there are no more tasks than before the first request: those of clients that hung up end later."""
    await until(lambda: len(asyncio.all_tasks()) <= idle, "every request has ended")
    # What has ended is still referred to by callbacks that are due.
    await turns(30)
