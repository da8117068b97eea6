"""The record of a checkout while its connection is out of the pool."""

import asyncio
from collections.abc import Callable
from time import perf_counter_ns
from types import CodeType
from typing import Any

from context_async_sqlalchemy.observer import (
    Checkout,
    CheckoutPath,
    ContextRecord,
    ObservedPool,
    Transaction,
    TransactionOutcome,
)

_NANOSECOND = 1e-9


class OpenCheckout(Checkout):
    """A connection that is out of its pool.

    Until the connection is returned, ``statements`` and ``busy`` leave out those of the transactions.

    Args:
        pool: the pool that the connection belongs to.
        context: the record of the context that checked the connection out, or None outside of any context.
        asked_at: the instant at which the wait for the connection began.
        taken_at: the instant at which the wait ended.
        path: how the pool provided the connection.
        previous: the open checkout of the same connection, which ends together with this one. Only a StaticPool
            checks a connection out twice.

    """

    __slots__ = (
        "call_began_at",
        "is_inside",
        "is_invalidated",
        "previous",
        "stack",
        "suspected_after",
        "task",
        "transaction",
    )

    # Written by hand, because the constructor that `dataclass` generates is slower and every checkout calls it.
    def __init__(  # noqa: PLR0917 - all positional: a hot path
        self,
        pool: ObservedPool,
        context: ContextRecord | None,
        asked_at: int,
        taken_at: int,
        path: CheckoutPath,
        previous: "OpenCheckout | None",
    ) -> None:
        self.pool = pool
        self.context = context
        self.asked_at = asked_at
        self.taken_at = taken_at
        self.released_at = 0
        self.path = path
        self.statements = 0
        self.busy = 0
        self.transactions = []
        self.released_by = "end"
        self.is_early = False
        self.error = None
        self.transaction: Transaction | None = None
        # The instant at which the driver began its present call, or 0 if the driver is idle.
        self.call_began_at = 0
        # Whether `within` measures a call as a whole, so that no hook counts a part of it again.
        self.is_inside = False
        self.is_invalidated = False
        self.previous = previous
        self.task: asyncio.Task[Any] | None = None
        self.stack: list[tuple[CodeType, int]] | None = None
        self.suspected_after = 0.0

    def end(self, outcome: TransactionOutcome, ended_at: int, error: BaseException | None = None) -> None:
        """End the open transaction."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            transaction.ended_at = ended_at
            transaction.outcome = outcome
            transaction.error = error
        if error is not None:
            self.error = error

    def within(self, call: Callable[[], Any]) -> Any:
        """Make, and measure, a call that is no statement: a SAVEPOINT, or a step of a two-phase commit."""
        started_at = self.call_began_at = perf_counter_ns()
        transaction = self.transaction
        self.is_inside = True
        try:
            return call()
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.is_inside = False
            self.call_ended(transaction, started_at)

    def call_ended(self, transaction: Transaction | None, started_at: int) -> None:
        """Add the time of the driver's call to its transaction, or to the checkout."""
        self.call_began_at = 0
        part = transaction or self
        part.busy += perf_counter_ns() - started_at

    def held_for(self, now: int) -> float:
        """Return the seconds for which the connection has been out of its pool."""
        return (now - self.taken_at) * _NANOSECOND

    def idle_for(self, now: int) -> float:
        """Return the seconds of the hold, up to an instant, in which the driver did nothing."""
        if self.released_at:
            return self.idle_seconds
        busy = self.busy + sum(transaction.busy for transaction in self.transactions)
        if self.call_began_at:
            busy += now - self.call_began_at
        return max(now - self.taken_at - busy, 0) * _NANOSECOND
