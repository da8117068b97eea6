"""The record of a checkout while its connection is out of the pool."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from types import CodeType
from typing import Any

from context_async_sqlalchemy.observer import Checkout, Transaction, TransactionOutcome

TRANSACTIONS = 1000
"""How many transactions a record keeps, because a worker may hold its connection for as long as it runs."""

_NANOSECOND = 1e-9


@dataclass(slots=True, eq=False, repr=False)
class OpenCheckout(Checkout):
    """A connection that is out of its pool.

    Until the connection is returned, ``statements`` and ``busy`` leave out those of the transactions that are kept.
    """

    transaction: Transaction | None = None
    call_began_at: int = 0
    """The instant at which the driver began its present call, or 0 if the driver is idle."""
    is_inside: bool = False
    """Whether ``within`` measures a call as a whole, so that no hook counts a part of it again."""
    is_invalidated: bool = False
    previous: "OpenCheckout | None" = None
    """The open checkout of the same connection, which ends together with this one: StaticPool checks one out twice."""
    task: asyncio.Task[Any] | None = None
    stack: list[tuple[CodeType, int]] | None = None
    suspected_after: float = 0.0

    def begin(self, started_at: int) -> Transaction:
        """Begin a transaction."""
        if len(self.transactions) == TRANSACTIONS:
            self._count(self.transactions.pop(0))
        transaction = self.transaction = Transaction(started_at)
        self.transactions.append(transaction)
        return transaction

    def end(self, outcome: TransactionOutcome, ended_at: int, error: BaseException | None = None) -> None:
        """End the open transaction."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            transaction.ended_at = ended_at
            transaction.outcome = outcome
            transaction.error = error or transaction.error
        if error is not None:
            self.error = error

    def returned(self) -> None:
        """Complete the record, because the connection was returned or lost."""
        self.released_at = perf_counter_ns()
        if self.transaction is not None:
            self.end("lost", self.released_at, self.error)
        for transaction in self.transactions:
            self._count(transaction)

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

    def _count(self, transaction: Transaction) -> None:
        self.statements += transaction.statements
        self.busy += transaction.busy
