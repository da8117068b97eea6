"""Which sessions wait for a lock, and for whom: asked of PostgreSQL, over a connection of its own."""

import asyncio
import logging
from time import monotonic
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from context_async_sqlalchemy.adapter_kit import without_statements
from context_async_sqlalchemy.observer import LivePool, ObservedPool

from .collector import Collector
from .pids import backend_pid

logger = logging.getLogger("context_async_sqlalchemy")

Json = dict[str, Any]

_EVERY = 1.0
_TIMEOUT = 2.0
_STALE = 5.0
"""Seconds after which an answer is forgotten."""
_QUESTION = text(
    "SELECT pid, pg_blocking_pids(pid), extract(epoch FROM clock_timestamp() - query_start) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Blockers:
    """Asks while a visitor looks, at most once a second, and only if a statement is running.

    Args:
        collector: knows the pools and the sessions.

    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._known: dict[ObservedPool, list[Json]] = {}
        self._asked_at: dict[ObservedPool, float] = {}
        # Each has a NullPool, so nothing of it is open between two questions.
        self._engines: dict[ObservedPool, AsyncEngine] = {}
        self._tasks: dict[ObservedPool, asyncio.Task[None]] = {}
        self._has_failed = False

    def known(self) -> list[Json]:
        """Return the last answers, and ask anew in the background."""
        for view in self._collector.pools.values():
            pool = view.pool
            passed = monotonic() - self._asked_at.get(pool, 0.0)
            is_due = passed >= _EVERY
            if passed >= _STALE:
                self._known.pop(pool, None)
            if pool.system == "postgresql" and is_due and pool not in self._tasks:
                self._asked_at[pool] = monotonic()
                self._tasks[pool] = asyncio.get_running_loop().create_task(self._ask(pool))
        return [each for known in self._known.values() for each in known]

    def forget(self, pool: ObservedPool) -> None:
        """Ask about a pool no longer."""
        self._known.pop(pool, None)
        self._asked_at.pop(pool, None)
        self._engines.pop(pool, None)
        task = self._tasks.get(pool)
        if task is not None:
            task.cancel()

    async def _ask(self, pool: LivePool) -> None:
        try:
            if not any(each.is_querying for each in pool.look().checkouts):
                self._known.pop(pool, None)
                return
            async with asyncio.timeout(_TIMEOUT):
                if pool not in self._engines:
                    self._engines[pool] = pool.engine_beside()
                async with self._engines[pool].connect() as connection:
                    rows = (await connection.execute(_QUESTION)).all()
            self._known[pool] = self._of_sessions(pool, [tuple(row) for row in rows])
        except Exception as error:
            self._known.pop(pool, None)
            if not self._has_failed:
                self._has_failed = True
                logger.warning(
                    "the inspector cannot ask pool %r which statements are blocked; this is said once",
                    pool.name,
                    exc_info=without_statements(error),
                )
        finally:
            self._tasks.pop(pool, None)

    def _of_sessions(self, pool: LivePool, rows: list[tuple[Any, ...]]) -> list[Json]:
        sessions = {backend_pid(each.driver_connection): each.checkout for each in pool.look().checkouts}
        return [
            {
                "session": self._collector.session_of(sessions[pid]).number,
                "backend_pid": pid,
                "blocked_by": list(blocked_by),
                "seconds": round(float(seconds or 0), 3),
            }
            for pid, blocked_by, seconds in rows
            if pid in sessions
        ]
