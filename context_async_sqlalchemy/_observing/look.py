"""Looks at a pool in detail: its limits, the connections that are out, and the waits."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, Pool, QueuePool

from context_async_sqlalchemy._shedding.queue import limits_of
from context_async_sqlalchemy.observer import LiveCheckout, LiveWait, PoolLimits, PoolLook

from .open_checkout import OpenCheckout


def look_at(engine: Engine, is_open: Mapping[Any, OpenCheckout], waits: Iterable[LiveWait]) -> PoolLook:
    """Return the state of a pool.

    Args:
        engine: the engine of the pool.
        is_open: the open checkouts by the pool's records of their connections.
        waits: the checkouts that wait.

    """
    checkouts: list[LiveCheckout] = []
    for entry, newest in list(is_open.items()):
        checkout: OpenCheckout | None = newest
        while checkout is not None:
            checkouts.append(_live(entry, checkout))
            checkout = checkout.previous
    return PoolLook(_limits(engine.pool), checkouts, list(waits))


def engine_beside(engine: Engine) -> AsyncEngine:
    """Return an engine that connects as another one does. It has no pool, and nothing observes it."""
    creator: Any = engine.pool._creator  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - there is no public name
    return create_async_engine(engine.url, pool=NullPool(creator))


def _live(entry: Any, checkout: OpenCheckout) -> LiveCheckout:
    transactions = checkout.transactions
    return LiveCheckout(
        checkout,
        len(transactions),
        checkout.statements + sum(transaction.statements for transaction in transactions),
        checkout.call_began_at > 0,
        entry.driver_connection,
    )


def _limits(pool: Pool) -> PoolLimits:
    max_wait, max_waiting = limits_of(pool)
    if not isinstance(pool, QueuePool):
        return PoolLimits(None, None, None, max_wait, max_waiting)
    size = pool.size()
    overflow = pool._max_overflow  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - there is no public name
    if size == 0:
        return PoolLimits(None, None, None, max_wait, max_waiting)
    return PoolLimits(size, overflow if overflow >= 0 else None, pool.timeout(), max_wait, max_waiting)
