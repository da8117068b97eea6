"""What is going on in a pool now, for an observer that shows it."""

import asyncio
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sqlalchemy.ext.asyncio import AsyncEngine

from .pools import ObservedPool
from .records import Checkout, ContextRecord


class PoolLimits(NamedTuple):
    """The limits of a pool, each None if there is none."""

    size: int | None
    """How many connections the pool keeps."""
    max_overflow: int | None
    """How many more it may open."""
    timeout: float | None
    """Seconds that a checkout may wait (``pool_timeout``)."""
    max_wait: str | None
    """The option ``max_wait`` of the ``DBConnect``, as text."""
    max_waiting: int | None
    """The option ``max_waiting`` of the ``DBConnect``."""


@dataclass(frozen=True, slots=True)
class LiveCheckout:
    """A connection that is out of its pool now."""

    checkout: Checkout
    """The record, which is not complete. ``idle_for`` and ``taken_at`` are right."""
    transactions: int
    statements: int
    is_querying: bool
    """Whether the driver works for the connection."""
    driver_connection: Any
    """The driver's connection, or None. It belongs to its holder, so ask it nothing that the server has to answer."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveWait:
    """A checkout that waits for the return of a connection."""

    context: ContextRecord | None
    asked_at: int
    """The instant at which the wait began."""
    task: "asyncio.Task[Any] | None"
    """The task that waits."""


class PoolLook(NamedTuple):
    """The state of a pool in detail."""

    limits: PoolLimits
    checkouts: list[LiveCheckout]
    waits: list[LiveWait]


@runtime_checkable
class LivePool(ObservedPool, Protocol):
    """A pool that can be looked at in detail. Those of the library can."""

    def look(self) -> PoolLook:
        """Return the connections that are out now, and the waits. The time that this takes grows with their number."""
        ...

    def engine_beside(self) -> AsyncEngine:
        """Return a new engine that connects as the pool does, without a pool. It is not observed; dispose of it."""
        ...
