"""Records made by hand, with instants that are easy to read, and what tells them to an observer."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from context_async_sqlalchemy.observer import (
    HISTORY,
    NO_ROUTE,
    Checkout,
    CheckoutPath,
    ContextOutcome,
    ContextRecord,
    EarlyRelease,
    FailedCheckout,
    Observer,
    PoolPeaks,
    PoolReading,
    ReleaseCause,
    Transaction,
    TransactionOutcome,
    WaitFailure,
)

Record = TypeVar("Record")

EPOCH_OFFSET = 1_700_000_000_000_000_000


def nanoseconds(seconds: float) -> int:
    """Return an instant, given in seconds after the clock's zero."""
    return round(seconds * 1e9)


def unix(seconds: float) -> int:
    """Return the Unix time of an instant."""
    return nanoseconds(seconds) + EPOCH_OFFSET


@dataclass(eq=False)
class Pool:
    """A pool as an observer sees it."""

    name: str = "main"
    server_address: str | None = "db.example"
    server_port: int | None = 5432
    database: str | None = "shop"
    system: str = "postgresql"
    reading: PoolReading = field(default_factory=lambda: PoolReading(0, 0, 0, None, None))
    highest: PoolPeaks = field(default_factory=lambda: PoolPeaks(0, 0))

    def read(self) -> PoolReading:
        """Return the state that the test has set."""
        return self.reading

    def peaks(self) -> PoolPeaks:
        """Return the peaks that the test has set."""
        return self.highest


def context(
    began: float = 1.0, ended: float = 2.0, outcome: ContextOutcome = "commit", route: str = NO_ROUTE
) -> ContextRecord:
    """Make the record of a context."""
    record = ContextRecord(route, nanoseconds(began), EPOCH_OFFSET)
    record.ended_at = nanoseconds(ended)
    record.outcome = outcome
    return record


def transaction(
    started: float,
    ended: float,
    outcome: TransactionOutcome = "commit",
    *,
    statements: int = 1,
    busy: float = 0.0,
    error: BaseException | None = None,
) -> Transaction:
    """Make the record of a transaction."""
    return Transaction(nanoseconds(started), nanoseconds(ended), statements, nanoseconds(busy), outcome, error)


def checkout(
    within: ContextRecord | None,
    pool: Pool,
    asked: float,
    taken: float,
    released: float,
    *transactions: Transaction,
    path: CheckoutPath = "idle",
    by: ReleaseCause = "end",
    is_early: bool = False,
    error: BaseException | None = None,
) -> Checkout:
    """Make the record of a checkout, with the statements and the busy time of its transactions."""
    return Checkout(
        pool,
        within,
        nanoseconds(asked),
        nanoseconds(taken),
        nanoseconds(released),
        path,
        sum(part.statements for part in transactions),
        sum(part.busy for part in transactions),
        list(transactions),
        by,
        is_early,
        error,
    )


def failed(
    within: ContextRecord | None, pool: Pool, asked: float, ended: float, failure: WaitFailure, *, error: BaseException
) -> FailedCheckout:
    """Make the record of a wait in vain."""
    return FailedCheckout(pool, within, nanoseconds(asked), nanoseconds(ended), failure, error)


def early_release(of: Checkout, ended: float) -> EarlyRelease:
    """Make the record of an early release."""
    return EarlyRelease(of, nanoseconds(ended))


def tell(
    observer: Observer, record: ContextRecord, happened: Iterable[Checkout | FailedCheckout | EarlyRelease]
) -> None:
    """Tell an observer of what happened in a context between its begin and its end; not of these two."""
    for one in happened:
        if isinstance(one, Checkout):
            observer.checkout_ended(one)
            _keep(record, record.checkouts, one)
        elif isinstance(one, FailedCheckout):
            observer.checkout_failed(one)
            _keep(record, record.failed_checkouts, one)
        else:
            observer.early_release_ended(one)
            _keep(record, record.early_releases, one)


def tell_all(observer: Observer, record: ContextRecord, *happened: Checkout | FailedCheckout | EarlyRelease) -> None:
    """Tell an observer of a whole context."""
    observer.context_began(record)
    tell(observer, record, happened)
    observer.context_ended(record)


def _keep(record: ContextRecord, kept: list[Record], one: Record) -> None:
    if record.keeps_history and len(kept) < HISTORY:
        kept.append(one)
