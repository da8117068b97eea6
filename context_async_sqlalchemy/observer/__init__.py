"""The port: what an observer is told, and what makes one that can be scraped; the records are of :mod:`~.records`."""

from .base import Observer
from .exposition import Exposition, exposition_of
from .records import (
    HISTORY,
    NO_ROUTE,
    UNMATCHED_ROUTE,
    Checkout,
    CheckoutPath,
    ContextOutcome,
    ContextRecord,
    EarlyRelease,
    FailedAttempt,
    FailedCheckout,
    NestedCheckout,
    ObservedPool,
    PoolReading,
    ReleaseCause,
    SuspectedLeak,
    Transaction,
    TransactionOutcome,
    WaitFailure,
)

__all__ = [
    "HISTORY",
    "NO_ROUTE",
    "UNMATCHED_ROUTE",
    "Checkout",
    "CheckoutPath",
    "ContextOutcome",
    "ContextRecord",
    "EarlyRelease",
    "Exposition",
    "FailedAttempt",
    "FailedCheckout",
    "NestedCheckout",
    "ObservedPool",
    "Observer",
    "PoolReading",
    "ReleaseCause",
    "SuspectedLeak",
    "Transaction",
    "TransactionOutcome",
    "WaitFailure",
    "exposition_of",
]
