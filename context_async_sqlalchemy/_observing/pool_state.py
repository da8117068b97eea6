"""Reads the state of a pool."""

from typing import Any

from sqlalchemy.pool import NullPool, Pool, QueuePool

from context_async_sqlalchemy.observer import PoolReading


def read_pool(pool: Pool, used: int, pending: int) -> PoolReading:
    """Read what a pool holds and may hold.

    Args:
        pool: the pool.
        used: how many of its connections are out.
        pending: how many wait for one.

    """
    if isinstance(pool, QueuePool):
        size = pool.size()
        overflow = pool._max_overflow  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - there is no public name
        maximum = size + overflow if size > 0 and overflow >= 0 else None
        return PoolReading(used, _idle(pool), pending, maximum, size or None)
    return PoolReading(used, 0, pending, None, 0 if isinstance(pool, NullPool) else None)


def _idle(pool: QueuePool) -> int:
    """Count the open connections in a pool: an invalidated one keeps its place there, without a connection."""
    queue: Any = pool._pool  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    try:
        return sum(entry.dbapi_connection is not None for entry in list(queue._queue._queue))  # noqa: SLF001
    except AttributeError:
        return pool.checkedin()
