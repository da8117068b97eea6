"""The queue of a pool that ends waits: :mod:`~.limits` decides, this module counts, waits and raises.

The classes of the live pool and of its queue are replaced by derived ones, as :mod:`.._observing.pool_hooks` does it,
so that an engine can shed which the application has made. ``dispose()`` keeps both. An engine without limits is left
unchanged.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool
from sqlalchemy.util import await_only, greenlet_spawn

from context_async_sqlalchemy.exceptions import PoolOverloadedError

from .limits import Limit, MaxWait, limit_of

_MARK = "_context_async_sqlalchemy_waiting"
"""The attribute of the derived class of a pool that holds its Waiting."""


class Waiting:
    """The checkouts that wait for a connection of one engine.

    Args:
        engine: the engine.

    Attributes:
        limit: how long a checkout may wait.
        since: the instants at which the present waits began, the longest wait first.
        max_waiting: how many checkouts may wait, or None.

    """

    def __init__(self, engine: Engine) -> None:
        self.limit: Limit = limit_of(None)
        # An OrderedDict, because the first entry of a dict is found late if many before it were deleted.
        self.since: OrderedDict[object, float] = OrderedDict()
        self._engine = engine
        self._name = ""
        self.max_waiting: int | None = None

    def allow(self, name: str, max_wait: MaxWait, max_waiting: int | None) -> None:
        """Set the limits, and the name of the pool in errors."""
        self.limit, self.max_waiting, self._name = limit_of(max_wait), max_waiting, name

    @property
    def shown_limit(self) -> str | None:
        """How long a checkout may wait, as text, or None if there is no limit."""
        return None if self.limit.seconds == math.inf else str(self.limit).removeprefix("max_wait=")

    async def wait(self, get: Callable[[], Any]) -> Any:
        """Wait for a connection.

        Args:
            get: calls the method of the queue that waits, with the pool's own limit.

        Raises:
            PoolOverloadedError: too many checkouts wait, or this one has waited for too long.
            sqlalchemy.util.queue.Empty: the pool's own limit has passed.

        """
        now = asyncio.get_running_loop().time
        if self.max_waiting is not None and len(self.since) >= self.max_waiting:
            raise self._overloaded(0.0, f"max_waiting={self.max_waiting}", len(self.since))
        limit, wait, asked_at = self.limit, object(), now()
        self.since[wait] = asked_at
        watch = _Watch(limit, asked_at, self.since)
        try:
            async with watch.timeout:
                watch.look()
                connection = await greenlet_spawn(get)
        except TimeoutError:
            if not watch.timeout.expired():
                raise
            raise self._overloaded(now() - asked_at, str(limit), len(self.since) - 1) from None
        finally:
            watch.stop()
            del self.since[wait]
        ended_at = now()
        limit.served(ended_at - asked_at, ended_at)
        return connection

    def _overloaded(self, waited: float, limit: str, others: int) -> PoolOverloadedError:
        # `recreate()` keeps the class, and only pools of this class get a Waiting.
        pool: Any = self._engine.pool
        return PoolOverloadedError(self._name, limit, pool.size() + pool.overflow(), pool.checkedout(), others, waited)


class _Watch:
    """Asks the limit from time to time whether one checkout may go on waiting."""

    def __init__(self, limit: Limit, asked_at: float, since: OrderedDict[object, float]) -> None:
        self.timeout = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._asked_at = asked_at
        self._since = since
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """End the wait, or look again later."""
        now = self._loop.time()
        again_at = self._limit.look(self._asked_at, now, next(iter(self._since.values()), now))
        if again_at is None:
            self.timeout.reschedule(now)
        elif again_at < math.inf:
            self._timer = self._loop.call_at(again_at, self.look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()


def limits_of(pool: Pool) -> tuple[str | None, int | None]:
    """Return ``max_wait``, as text, and ``max_waiting`` of a pool. Each is None if there is no such limit."""
    waiting: Waiting | None = getattr(pool, _MARK, None)
    return (None, None) if waiting is None else (waiting.shown_limit, waiting.max_waiting)


def limit_waits(engine: Engine, name: str, max_wait: MaxWait, max_waiting: int | None) -> None:
    """Limit the waits for a connection of an engine, from now on.

    Args:
        engine: the engine. If it has limits already, these replace them. A pool in which no checkout waits, such as a
            NullPool, is left unchanged.
        name: the name of the pool in errors.
        max_wait: see ``DBConnect``.
        max_waiting: see ``DBConnect``. If both are None, the engine is left unchanged.

    """
    if max_wait is None and max_waiting is None:
        return
    waiting: Waiting | None = getattr(engine.pool, _MARK, None)
    if waiting is None:
        if not isinstance(engine.pool, AsyncAdaptedQueuePool):
            return
        waiting = Waiting(engine)
        _replace_classes(engine.pool, waiting)
    waiting.allow(name, max_wait, max_waiting)


def _replace_classes(pool: AsyncAdaptedQueuePool, waiting: Waiting) -> None:
    queue: Any = pool._pool  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - there is no public name
    queue_class = _limited_class(type(queue), waiting)
    base = type(pool)
    attributes = {"_queue_class": queue_class, _MARK: waiting, "__module__": base.__module__}
    pool.__class__ = type(base.__name__, (base,), attributes)
    queue.__class__ = queue_class


def _limited_class(base: Any, waiting: Waiting) -> type:
    base_get = base.get

    # The signature is SQLAlchemy's. A pool that may open a connection passes block=False.
    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        if block and self.empty():
            return await_only(waiting.wait(lambda: base_get(self, block, timeout)))
        if not waiting.since:
            waiting.limit.least_wait = 0.0
        return base_get(self, block, timeout)

    return type(base.__name__, (base,), {"get": get, "__module__": base.__module__})
