"""SQLAlchemy's pool, which also tells how many are waiting for a connection."""

from sqlalchemy.pool import AsyncAdaptedQueuePool, PoolProxiedConnection

from context_async_sqlalchemy import DBConnect


class CountingPool(AsyncAdaptedQueuePool):
    """A pool that counts who waits; SQLAlchemy's own knows its connections, but has no public count of the waiting.

    Every checkout goes through ``connect``, and with ``max_overflow=0`` it has to wait if, and only if, all
    connections are out when it comes. So who has entered then and has not come back is waiting: no guess is made.
    """

    waiting = 0
    """Checkouts that are waiting now."""
    most_waiting = 0
    """The most that waited at the same time since ``restart_counting``."""
    had_to_wait = 0
    """Checkouts that did not get a connection at once since ``restart_counting``."""

    def connect(self) -> PoolProxiedConnection:
        """Give a connection, waiting for one if all are out."""
        if self.checkedout() < self.size():
            return super().connect()
        self.had_to_wait += 1
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            # In an AsyncEngine this runs in a greenlet: while it waits, other requests go on and count themselves.
            return super().connect()
        finally:
            self.waiting -= 1

    def restart_counting(self) -> None:
        """Forget the past; who waits now is counted still."""
        self.most_waiting, self.had_to_wait = self.waiting, 0


def pool_of(connection: DBConnect) -> CountingPool:
    """Give the pool of a connection that is in use.

    Args:
        connection: one that was made with ``poolclass=CountingPool``.

    Raises:
        RuntimeError: it has no engine (yet), or another pool.

    """
    pool = None if connection.engine is None else connection.engine.sync_engine.pool
    if not isinstance(pool, CountingPool):
        raise RuntimeError(f"{connection!r} is not connected through a CountingPool")  # noqa: TRY004 - a state
    return pool
