"""Looks at the pools of a schedule after each turn of its loop: at their places, and at the tasks that wait for one."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.pool import QueuePool

from context_async_sqlalchemy._pool_queue import HandOnPool

_TURNS_OF_SQLALCHEMY = 2
"""Turns for which SQLAlchemy's own pool may let a task wait: the task takes its place in the turn after its waking."""


class PoolWatch:
    """Looks at pools, also at those of an engine that was disposed of, for as long as the schedule lasts.

    Args:
        violate: called with a rule and a detail when one is broken.

    """

    def __init__(self, violate: Callable[[str, str], None]) -> None:
        self._violate = violate
        self._turns_in_vain: dict[QueuePool, int] = {}

    def look_at(self, present: list[QueuePool]) -> None:
        """Look at the present pools, and at all earlier ones."""
        for pool in present:
            self._turns_in_vain.setdefault(pool, 0)
        for pool, turns in self._turns_in_vain.items():
            limit = pool._max_overflow  # pyright: ignore[reportPrivateUsage]
            if pool.overflow() > limit:
                self._violate("the pool has lent more connections than it has places", pool.status())
            is_free = pool.checkedin() > 0 or pool.overflow() < limit
            turns_in_vain = turns + 1 if is_free and _waiting(pool) else 0
            self._turns_in_vain[pool] = turns_in_vain
            if turns_in_vain >= (1 if isinstance(pool, HandOnPool) else _TURNS_OF_SQLALCHEMY):
                self._violate("a task waits while a place is free", f"{_waiting(pool)} wait: {pool.status()}")


def _waiting(pool: QueuePool) -> int:
    if isinstance(pool, HandOnPool):
        return pool.queue.waiting()
    queue: Any = vars(pool)["_pool"]
    return sum(not getter.done() for getter in queue._queue._getters)
