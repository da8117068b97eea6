"""How the applications are served, and clients that write without a pause."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.support.waiting import until


@asynccontextmanager
async def serving(app: web.Application) -> AsyncGenerator[str]:
    """Serve an application during the block; yields its URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Load:
    """Clients that write, each request something new, and take down what they were answered.

    Args:
        url: of the service.

    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count()
        self._is_over = False
        self.acknowledged: set[str] = set()
        self.refused: dict[str, str] = {}
        self.statuses: set[int] = set()

    @asynccontextmanager
    async def running(self, clients: int) -> AsyncGenerator[None]:
        """Write during the block; at its end every request has been answered."""
        async with aiohttp.ClientSession() as session:
            tasks = [asyncio.create_task(self._write(session)) for _ in range(clients)]
            try:
                yield
            finally:
                self._is_over = True
                await asyncio.gather(*tasks)

    async def more_acknowledged(self, count: int) -> None:
        """Wait until that many more writes have been acknowledged."""
        goal = len(self.acknowledged) + count
        await until(lambda: len(self.acknowledged) >= goal, f"{goal} acknowledged writes; last: {self.last_refusal}")

    async def more_refused(self, count: int) -> None:
        """Wait until that many more requests have failed."""
        goal = len(self.refused) + count
        await until(lambda: len(self.refused) >= goal, f"{goal} refused requests")

    @property
    def last_refusal(self) -> str:
        """What the last request that failed was answered."""
        return next(reversed(self.refused.values()), "no request was refused")

    async def _write(self, session: aiohttp.ClientSession) -> None:
        while not self._is_over:
            body = str(next(self._numbers))
            async with session.post(f"{self._url}/notes/{body}") as response:
                self.statuses.add(response.status)
                if response.ok:
                    self.acknowledged.add(body)
                else:
                    self.refused[body] = await response.text()
                    assert response.headers.get("Retry-After"), self.refused[body]
