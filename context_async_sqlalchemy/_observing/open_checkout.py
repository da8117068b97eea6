"""A checkout while it lasts: what is added up until its connection is given back."""

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
    """A connection that is out of its pool; ``statements`` and ``busy`` leave out its transactions' until it is back.

    Args:
        pool: the pool.
        context: in which context, if in any.
        asked_at: when the wait began.
        taken_at: when it ended.
        path: how the connection was got.
        previous: the one that has the same connection, and is given back with it: a StaticPool has but one.

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

    # One is made for each checkout: the generated constructor of a dataclass takes twice as long.
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
        # Since when the driver is at work; 0 while it is not.
        self.call_began_at = 0
        # Within a call that is measured as a whole, so that what it calls is not counted again.
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
        """Make a call of the transaction's that is no statement: a SAVEPOINT, a part of a two-phase commit."""
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
        """Add up the time that the driver has taken."""
        self.call_began_at = 0
        part = transaction or self
        part.busy += perf_counter_ns() - started_at

    def held_for(self, now: int) -> float:
        """Seconds for which the connection has been out of its pool."""
        return (now - self.taken_at) * _NANOSECOND

    def idle_for(self, now: int) -> float:
        """Seconds of it in which the driver was not at work."""
        busy = self.busy + sum(transaction.busy for transaction in self.transactions)
        if self.call_began_at:
            busy += now - self.call_began_at
        return max(now - self.taken_at - busy, 0) * _NANOSECOND
