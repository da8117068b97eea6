"""The state of a pool: its connections, used and idle, and its limits."""

from sqlalchemy.pool import NullPool, Pool, QueuePool

from context_async_sqlalchemy._pool_queue import HandOnPool
from context_async_sqlalchemy.observer import PoolReading


def read_pool(pool: Pool, used: int, pending: int) -> PoolReading:
    """Return how many connections a pool has, and how many it may have.

    Args:
        pool: the pool.
        used: the number of its connections that are checked out.
        pending: the number of checkouts that wait for a connection.

    """
    if isinstance(pool, QueuePool):
        size = pool.size()
        overflow = pool._max_overflow  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - there is no public name
        maximum = size + overflow if size > 0 and overflow >= 0 else None
        return PoolReading(used, _idle(pool), pending, maximum, size or None)
    return PoolReading(used, 0, pending, None, 0 if isinstance(pool, NullPool) else None)


def _idle(pool: QueuePool) -> int:
    """Return how many connections in a pool are open; an invalidated one keeps its place, without a connection."""
    return pool.queue.connected() if isinstance(pool, HandOnPool) else pool.checkedin()
