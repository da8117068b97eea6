"""Makes a pool hand its places on, so that a task never waits for a connection while the pool may make one.

SQLAlchemy's pool for asyncio has a queue of records, each with a connection, and a counter of all its records. A task
waits if no record is idle and the counter has reached its limit. Only a record that is returned ends the wait. If the
counter falls, nothing ends the wait: the connect of a new record fails or is cancelled, a surplus connection is closed,
or ``dispose()`` closes idle ones. The task then waits for ``pool_timeout`` before a pool that is empty.

:class:`HandOnPool` has another queue. It gives a place that becomes free to the task that has waited longest, and that
task makes the connection itself. If it fails, the next task gets the place. Each gets the driver's own error.

A *place is free* if a record is idle, or if the counter is below its limit. **While a task waits, no place is free**:

1. A task begins to wait in ``QueuePool._do_get``, which has just seen the counter at its limit, if no record is idle.
   There is no suspension between the two looks and the beginning of the wait.
2. A record becomes idle in :meth:`PoolQueue.put`, and only if no task waits. Otherwise the first task gets the record.
3. The counter falls in :meth:`HandOnPool._dec_overflow`, and only if no task waits. Otherwise the first task gets a new
   record without a connection. ``QueuePool`` would also set the counter in ``dispose()``, so
   :meth:`HandOnPool.dispose` counts the records that it closes.
4. A task ends its wait with a record, by its time-out or by a cancellation. If it is cancelled after it was given a
   record, and before it runs, it returns the record to the pool. That return is a case of 2 or 3.

A record without a connection is nothing new to SQLAlchemy, which keeps the place of an invalidated connection so. Its
checkout makes the connection. If that fails, the checkout returns the record to the pool, which is 2 again. SQLAlchemy
forgets that in one case, which :func:`_return_left_over` mends.

The tasks get records in the order in which they began to wait. In SQLAlchemy's queue, a task that asks at the right
moment overtakes a task that was woken and has not run yet.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from types import TracebackType
from typing import Any, Literal

from sqlalchemy.engine import Engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.pool.base import _ConnectionFairy, _ConnectionRecord  # pyright: ignore[reportPrivateUsage]
from sqlalchemy.util import await_only
from sqlalchemy.util.queue import AsyncAdaptedQueue, Empty, Full, QueueCommon

logger = logging.getLogger("context_async_sqlalchemy")

Waiter = asyncio.Future[ConnectionPoolEntry | None]
"""A task that waits: it gets a record, or None at its time-out."""


class PoolQueue(QueueCommon[ConnectionPoolEntry]):
    """The idle records of one pool, and the tasks that wait for one.

    Args:
        maxsize: the most idle records, or 0 for no limit.
        use_lifo: whether a task gets the record that was returned last, in place of the one that was returned first.

    Attributes:
        pool: gets back a record whose task was cancelled in the moment in which it was given the record.

    """

    pool: "HandOnPool"

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:  # noqa: FBT001, FBT002 - as in SQLAlchemy
        self.maxsize = maxsize
        self.use_lifo = use_lifo
        self._idle: deque[ConnectionPoolEntry] = deque()
        # An OrderedDict, because a task may leave from the middle, and the first one is found at once.
        self._waiters: OrderedDict[Waiter, None] = OrderedDict()

    def get(self, block: bool = True, timeout: float | None = None) -> ConnectionPoolEntry:  # noqa: FBT001, FBT002 - as in SQLAlchemy
        """Return an idle record, or wait for one.

        Args:
            block: whether to wait.
            timeout: seconds after which the wait ends.

        Raises:
            Empty: there was no record in time.

        """
        if self._idle:
            return self._idle.pop() if self.use_lifo else self._idle.popleft()
        if block:
            record = self._wait(timeout)
            if record is not None:
                return record
        raise Empty

    def put(self, item: ConnectionPoolEntry, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002, FBT001, FBT002 - as in SQLAlchemy
        """Give a record to the task that has waited longest; keep the record if no task waits.

        Raises:
            Full: there are ``maxsize`` idle records.

        """
        if self._waiters and self.hand_on(item):
            return
        if self.full():
            raise Full
        self._idle.append(item)

    def hand_on(self, record: ConnectionPoolEntry) -> bool:
        """Give a record to the task that has waited longest; return whether there was one."""
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            # It is done if its time-out or its cancellation has come, and the task has not run yet.
            if not waiter.done():
                waiter.set_result(record)
                return True
        return False

    def get_nowait(self) -> ConnectionPoolEntry:
        """Return an idle record; see :meth:`get`."""
        return self.get(block=False)

    def put_nowait(self, item: ConnectionPoolEntry) -> None:
        """Take a record; see :meth:`put`."""
        self.put(item)

    def empty(self) -> bool:
        """Return whether no record is idle."""
        return not self._idle

    def full(self) -> bool:
        """Return whether no more records may be idle."""
        return 0 < self.maxsize <= len(self._idle)

    def qsize(self) -> int:
        """Return how many records are idle."""
        return len(self._idle)

    def waiting(self) -> int:
        """Return how many tasks wait."""
        return sum(not waiter.done() for waiter in list(self._waiters))

    def may_be_waited_for(self) -> bool:
        """Return whether a task waits, or has waited and has not run yet. This does not count the tasks."""
        return bool(self._waiters)

    def connected(self) -> int:
        """Return how many of the idle records have a connection."""
        return sum(record.dbapi_connection is not None for record in list(self._idle))

    def _wait(self, timeout: float | None) -> ConnectionPoolEntry | None:
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        expiry = None if timeout is None else loop.call_later(timeout, _expire, waiter)
        self._waiters[waiter] = None
        try:
            return await_only(waiter)
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                record = waiter.result()
                if record is not None:
                    self.pool.take_back(record)
            raise
        finally:
            self._waiters.pop(waiter, None)
            if expiry is not None:
                expiry.cancel()


def _expire(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)


class HandOnPool(AsyncAdaptedQueuePool):
    """A pool that gives a place which becomes free to the task that has waited longest.

    Attributes:
        queue: its idle records, and the tasks that wait.

    """

    queue: PoolQueue
    _queue_class = PoolQueue

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._use(self._pool)

    def replace_queue(self) -> None:
        """Replace SQLAlchemy's queue, and keep its idle records."""
        old = self._pool
        idle = [old.get_nowait() for _ in range(old.qsize())]
        self._use(self._queue_class(old.maxsize, old.use_lifo))
        # In the order in which they were returned.
        for record in reversed(idle) if old.use_lifo else idle:
            self.queue.put(record)

    def _use(self, queue: Any) -> None:
        self._pool = self.queue = queue
        self.queue.pool = self

    def connect(self) -> PoolProxiedConnection:
        """Check a connection out."""
        try:
            return super().connect()
        except BaseException as error:
            _return_left_over(error.__traceback__)
            raise

    def take_back(self, record: ConnectionPoolEntry) -> None:
        """Take a record back that was given to a task, and that the task has not used."""
        self._do_return_conn(record)

    def dispose(self) -> None:
        """Close the idle connections. Those that are checked out keep their places until they are returned."""
        while not self.queue.empty():
            record = self.queue.get_nowait()
            try:
                record.close()
            finally:
                self._dec_overflow()
        self.logger.info("Pool disposed. %s", self.status())

    def _dec_overflow(self) -> Literal[True]:
        # SQLAlchemy calls this where it gives the place of a record up: it was not connected, or it was closed.
        if self.queue.may_be_waited_for() and self.queue.hand_on(_ConnectionRecord(self, connect=False)):
            return True
        return super()._dec_overflow()


def _return_left_over(traceback: TracebackType | None) -> None:
    """Return a connection that a failed checkout has left to the garbage collector.

    SQLAlchemy 2.0.56 and 2.1.9 do so if a checkout is cancelled while it closes a connection that has failed its
    pre-ping. Wherever else a checkout fails, SQLAlchemy returns the connection, and deletes the local variable first.
    """
    while traceback is not None:
        fairy = traceback.tb_frame.f_locals.get("fairy")
        if isinstance(fairy, _ConnectionFairy) and fairy.is_valid:
            fairy.invalidate()
            return
        traceback = traceback.tb_next


def hand_places_on(engine: Engine) -> None:
    """Make the pool of an engine hand its places on. A second call changes nothing.

    The class of the live pool is replaced by a derived class, because applications make their engines themselves (see
    docs/decisions/0002). ``Engine.dispose()`` makes the next pool by the class of this one.

    Args:
        engine: the engine. It stays unchanged if its pool has no queue for asyncio, or has a queue of the application's
            own. It also stays unchanged if tasks wait for a connection of its pool at the moment, which is logged.

    """
    pool = engine.pool
    if not isinstance(pool, AsyncAdaptedQueuePool) or isinstance(pool, HandOnPool):
        return
    queue = pool._pool  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if type(queue) is not AsyncAdaptedQueue:
        return
    if _is_waited_for(queue):
        logger.warning(
            "pool of %r: tasks wait for a connection while the engine is given to a DBConnect. It keeps SQLAlchemy's "
            "queue, in which a failed connect wakes no waiting task. Use the DBConnect before the engine is busy",
            engine,
        )
        return
    base = type(pool)
    derived: Any = type(base.__name__, (HandOnPool, base), {"__module__": base.__module__})
    pool.__class__ = derived
    derived.replace_queue(pool)


def _is_waited_for(queue: Any) -> bool:
    return bool(queue._queue._getters)  # noqa: SLF001
