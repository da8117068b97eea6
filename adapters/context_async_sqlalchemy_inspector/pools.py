"""A pool as the page shows it: its state, the last minute, and what its size should be."""

from collections import deque
from itertools import count
from time import perf_counter_ns
from typing import Any

from context_async_sqlalchemy.observer import LivePool, PoolLook

from .advice import Need, for_pool
from .buckets import PoolSum

Json = dict[str, Any]

_SECOND = 1_000_000_000
_MINUTE = 60
_PAUSE = 10
"""Seconds without a look after which the history begins anew."""

_numbers = count(1)


class PoolView:
    """One pool, and the samples of the last minute in which a visitor looked.

    Args:
        pool: the pool.

    Attributes:
        key: tells the pool apart from others, because pools of several engines may have one name.

    """

    def __init__(self, pool: LivePool) -> None:
        self.pool = pool
        self.key = f"{pool.name} {next(_numbers)}"
        self._history: deque[tuple[int, int]] = deque(maxlen=_MINUTE)
        self._sampled_at = 0

    def state(self, look: PoolLook, total: PoolSum, window: float) -> Json:
        """Return the part of the state, without its waiters and holders.

        Args:
            look: the connections that are out, the waits and the limits.
            total: what happened in the window.
            window: seconds.

        """
        pool = self.pool
        reading, peaks = pool.read(), pool.peaks()
        self._sample(reading.used, reading.pending)
        return {
            "key": self.key,
            "name": pool.name,
            "server": _server(pool),
            "used": reading.used,
            "idle": reading.idle,
            "waiting": reading.pending,
            "peak_used": peaks.used,
            "peak_waiting": peaks.pending,
            "size": look.limits.size,
            "max_overflow": look.limits.max_overflow,
            "timeout": look.limits.timeout,
            "max_wait": look.limits.max_wait,
            "max_waiting": look.limits.max_waiting,
            "history": [list(sample) for sample in self._history],
            "advice": for_pool(Need(total, window, peaks, reading.maximum)),
        }

    def _sample(self, used: int, waiting: int) -> None:
        now = perf_counter_ns()
        passed = round((now - self._sampled_at) / _SECOND)
        if self._history and not passed:
            return
        if passed > _PAUSE:
            self._history.clear()
            passed = 1
        # A second in which no visitor looked counts as the next one, so that the samples stay a second apart.
        self._history.extend([(used, waiting)] * passed)
        self._sampled_at = now


def _server(pool: LivePool) -> str:
    host = pool.server_address or ""
    port = "" if pool.server_port is None else f":{pool.server_port}"
    return f"{host}{port}/{pool.database or ''}"
