"""Pools and records made by hand; times are milliseconds."""

from context_async_sqlalchemy.observer import (
    Checkout,
    ContextOutcome,
    ContextRecord,
    FailedCheckout,
    PoolPeaks,
    PoolReading,
    ReleaseCause,
    Transaction,
    TransactionOutcome,
    WaitFailure,
)

_MILLISECOND = 1_000_000


class FakePool:
    """A pool that is doing what the test says."""

    def __init__(self, name: str = "main", server_address: str | None = None) -> None:
        self.name = name
        self.reading = PoolReading(used=0, idle=0, pending=0, maximum=10, idle_maximum=5)
        self.highest = PoolPeaks(used=0, pending=0)
        self.server_address = server_address
        self.server_port = None if server_address is None else 5432
        self.database: str | None = None
        self.system = "postgresql"

    def read(self) -> PoolReading:
        return self.reading

    def peaks(self) -> PoolPeaks:
        return self.highest


def context_of(route: str, outcome: ContextOutcome = "commit") -> ContextRecord:
    """Make the record of a request's context."""
    context = ContextRecord(route, began_at=0, epoch_offset=0)
    context.outcome = outcome
    return context


def transaction(duration: int, outcome: TransactionOutcome = "commit") -> Transaction:
    """Make the record of a transaction."""
    return Transaction(started_at=0, ended_at=duration * _MILLISECOND, outcome=outcome)


def checkout(
    pool: FakePool,
    context: ContextRecord | None,
    *transactions: Transaction,
    wait: int = 2,
    hold: int = 60,
    busy: int = 20,
    statements: int = 2,
    early_by: ReleaseCause | None = None,
) -> Checkout:
    """Make the record of a connection's stay outside of its pool."""
    return Checkout(
        pool,
        context,
        asked_at=0,
        taken_at=wait * _MILLISECOND,
        released_at=(wait + hold) * _MILLISECOND,
        statements=statements,
        busy=busy * _MILLISECOND,
        transactions=list(transactions),
        released_by=early_by or "end",
        is_early=early_by is not None,
    )


def failed(pool: FakePool, context: ContextRecord | None, failure: WaitFailure, wait: int) -> FailedCheckout:
    """Make the record of a wait in vain."""
    return FailedCheckout(pool, context, 0, wait * _MILLISECOND, failure, TimeoutError())
