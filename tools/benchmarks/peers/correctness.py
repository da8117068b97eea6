"""Whether each contestant does the same: the same answer, and one committed transaction for each request."""

import asyncio
import json
import urllib.request

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tools.benchmarks.client import CONNECTIONS
from tools.benchmarks.peers.contestants import Contestant
from tools.benchmarks.peers.starting import Place

_REQUESTS = 10 * CONNECTIONS
_ANSWER = ["item 1", "item 2"]
_OTHER_TRANSACTIONS = _REQUESTS // 2
"""At most: what drivers and pools ask of new connections. A transaction for each statement would be more."""

_COMMITTED = text("SELECT xact_commit, xact_rollback FROM pg_stat_database WHERE datname = current_database()")
_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


class NotComparableError(RuntimeError):
    """A contestant does something else than the others.

    Args:
        contestant: who it is.
        problem: what it does.

    """

    def __init__(self, contestant: Contestant, problem: str) -> None:
        super().__init__(f"{contestant.module}, {contestant.application}: {problem}")


async def check(contestant: Contestant, place: Place) -> None:
    """Ask a server of the contestant.

    Raises:
        NotComparableError: it answers something else, or does not commit a transaction for each request.

    """
    engine = create_async_engine(place.url)
    try:
        committed_before, rolled_back_before = await _transactions(engine)
        async with place.server(contestant) as server:
            answer = await asyncio.to_thread(_body, server.ports[contestant.application])
            if json.loads(answer) != _ANSWER:
                raise NotComparableError(contestant, f"it answers {answer}")
            await server.load(contestant.application, "/two-selects", _REQUESTS)
        committed, rolled_back = await _transactions(engine)
    finally:
        await engine.dispose()
    expected = _REQUESTS + 1
    committed -= committed_before
    if not expected <= committed < expected + _OTHER_TRANSACTIONS:
        raise NotComparableError(contestant, f"it committed {committed} transactions for {expected} requests")
    rolled_back -= rolled_back_before
    if rolled_back > _OTHER_TRANSACTIONS:
        raise NotComparableError(contestant, f"it rolled back {rolled_back} transactions for {expected} requests")


def _body(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/two-selects") as response:
        return str(response.read().decode())


async def _transactions(engine: AsyncEngine) -> tuple[int, int]:
    """Count transactions after all other connections have closed, because PostgreSQL may count late until then."""
    async with engine.connect() as connection, asyncio.timeout(10):
        while (await connection.execute(_OTHERS)).scalar_one():
            await asyncio.sleep(0.05)
            # Within a transaction PostgreSQL answers by what it has looked up before.
            await connection.rollback()
    async with engine.connect() as connection:
        committed, rolled_back = (await connection.execute(_COMMITTED)).one()
    return int(committed), int(rolled_back)
