"""The CPU time of a checkout that does not wait: this library's queue against SQLAlchemy's own.

    python -m tools.benchmarks.checkout

A connection is checked out and returned, without a server. The two pools take turns, and the medians
of their rounds are told.
"""

import asyncio
import statistics
import sys
import time

from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool
from sqlalchemy.util import greenlet_spawn

from context_async_sqlalchemy._pool_queue import hand_places_on

_ROUNDS = 60
_CHECKOUTS = 2_000
_MICROSECONDS = 1e-3


def _round(pool: Pool) -> float:
    """Return the microseconds of one checkout and its return."""
    begun = time.thread_time_ns()
    for _ in range(_CHECKOUTS):
        pool.connect().close()
    return (time.thread_time_ns() - begun) / _CHECKOUTS * _MICROSECONDS


async def main() -> None:
    """Measure, and print the medians."""
    plain = create_async_engine("sqlite+aiosqlite://", poolclass=AsyncAdaptedQueuePool, pool_reset_on_return=None)
    ours = create_async_engine("sqlite+aiosqlite://", poolclass=AsyncAdaptedQueuePool, pool_reset_on_return=None)
    hand_places_on(ours.sync_engine)
    rounds: dict[str, list[float]] = {"SQLAlchemy's queue": [], "hand-on queue": []}
    pools = dict(zip(rounds, (plain.sync_engine.pool, ours.sync_engine.pool), strict=True))
    for _ in range(_ROUNDS):
        for name, pool in pools.items():
            rounds[name].append(await greenlet_spawn(_round, pool))
    for name, seen in rounds.items():
        sys.stdout.write(f"{name}: {statistics.median(seen):.2f} µs\n")
    await plain.dispose()
    await ours.dispose()


if __name__ == "__main__":
    asyncio.run(main())
