"""The names for authors of observers: ``Observer``, the records that it gets, and what it may serve over HTTP.

An observer derives from :class:`Observer`, overrides the methods for the events that it needs, and is passed to
``setup_db(observers=[...])``.
"""

from .base import Observer
from .exposition import Exposition, exposition_of
from .live import LiveCheckout, LivePool, LiveWait, PoolLimits, PoolLook
from .pools import ObservedPool, PoolPeaks, PoolReading
from .records import (
    HISTORY,
    NO_ROUTE,
    OTHER_ROUTE,
    UNMATCHED_ROUTE,
    Checkout,
    CheckoutPath,
    ContextOutcome,
    ContextRecord,
    EarlyRelease,
    FailedAttempt,
    FailedCheckout,
    NestedCheckout,
    ReleaseCause,
    SuspectedLeak,
    Transaction,
    TransactionOutcome,
    WaitFailure,
)
from .resources import Resource, ResourceAnswer, ResourceRequest

__all__ = [
    "HISTORY",
    "NO_ROUTE",
    "OTHER_ROUTE",
    "UNMATCHED_ROUTE",
    "Checkout",
    "CheckoutPath",
    "ContextOutcome",
    "ContextRecord",
    "EarlyRelease",
    "Exposition",
    "FailedAttempt",
    "FailedCheckout",
    "LiveCheckout",
    "LivePool",
    "LiveWait",
    "NestedCheckout",
    "ObservedPool",
    "Observer",
    "PoolLimits",
    "PoolLook",
    "PoolPeaks",
    "PoolReading",
    "ReleaseCause",
    "Resource",
    "ResourceAnswer",
    "ResourceRequest",
    "SuspectedLeak",
    "Transaction",
    "TransactionOutcome",
    "WaitFailure",
    "exposition_of",
]
