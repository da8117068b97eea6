"""Tasks that wait for the places of a pool, and connects that are held back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from context_async_sqlalchemy._pool_queue import HandOnPool
from tests.core.observing.engines import SELECT, select_on
from tests.support.waiting import until

MakeEngine = Callable[..., Awaitable[AsyncEngine]]


class Connects:
    """Holds the connects of an engine back, and refuses as many of them as it is told to."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.begun = 0
        self.running = 0
        self.most = 0
        self.to_refuse = 0
        self._gate = asyncio.Event()
        self._gate.set()
        event.listen(engine.sync_engine, "do_connect", self._connect)

    def hold(self) -> None:
        """Let no connect begin."""
        self._gate.clear()

    def let_go(self) -> None:
        """Let all of them begin."""
        self._gate.set()

    def _connect(self, *_arguments: Any) -> None:
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await_only(self._gate.wait())
            await_only(asyncio.sleep(0.001))
            if self.to_refuse:
                self.to_refuse -= 1
                raise ConnectionRefusedError("the server is down")
        finally:
            self.running -= 1


def pool_of(engine: AsyncEngine) -> HandOnPool:
    """Return the pool, which has the queue."""
    pool = engine.sync_engine.pool
    assert isinstance(pool, HandOnPool)
    return pool


def waiting_for(engine: AsyncEngine) -> int:
    """Return how many tasks wait for a connection."""
    return pool_of(engine).queue.waiting()


async def line_up(engine: AsyncEngine, count: int) -> list[asyncio.Task[None]]:
    """Let tasks wait for a connection."""
    before = waiting_for(engine)
    tasks = [asyncio.create_task(select_on(engine)) for _ in range(count)]
    await until(lambda: waiting_for(engine) == before + count, f"{count} tasks wait")
    return tasks


async def require_all_places(engine: AsyncEngine, count: int) -> None:
    """Check that no place is lost, and that the pool has no more of them."""
    held = [await engine.connect() for _ in range(count)]
    late = asyncio.create_task(select_on(engine))
    await until(lambda: waiting_for(engine) == 1, "one more has to wait")
    for each in held:
        await each.execute(SELECT)
        await each.close()
    await late
    assert pool_of(engine).checkedout() == 0
