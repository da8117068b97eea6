"""The port: what an observer is told, and what makes one that can be scraped; the records are of :mod:`~.records`."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

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


class Observer:
    """Is told what happens; override what you need.

    All methods are called in the application's own tasks, so they must be quick and must not await. What they raise
    is logged, once for each observer and method, and goes no further.

    Attributes:
        hears_of_kept_only: whether ``checkout_ended`` and ``context_ended`` are to be called only for contexts whose
            ``keeps_history`` is set: for an observer that chooses its contexts in ``context_began``.

    """

    hears_of_kept_only: bool = False

    def workers_starting(self) -> None:
        """Hear, in a server's main process, that it is about to start its workers."""

    def pool_observed(self, pool: ObservedPool) -> None:
        """Hear that an engine was made: its pool is observed from now on."""

    def pool_forgotten(self, pool: ObservedPool) -> None:
        """Hear that the engine is gone: disposed of for good, or replaced by one of another host and drained."""

    def connected(self, pool: ObservedPool, seconds: float) -> None:
        """Hear that a connection was opened."""

    def connection_invalidated(self, pool: ObservedPool) -> None:
        """Hear that a connection was thrown away because of an error on it."""

    def context_began(self, context: ContextRecord) -> None:
        """Hear that a context asks for its first connection."""

    def context_ended(self, context: ContextRecord) -> None:
        """Hear that a context that had asked for a connection has ended; its sessions are closed."""

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Hear that a wait timed out, was cancelled, or no connection could be made."""

    def checkout_ended(self, checkout: Checkout) -> None:
        """Hear that a connection was given back, or was lost."""

    def early_release_ended(self, release: EarlyRelease) -> None:
        """Hear that a context that had given its connection back early takes one again, or ends."""

    def nested_checkout(self, nested: NestedCheckout) -> None:
        """Hear that a context waits for a second connection of a pool of which it holds one."""

    def retried(self, attempt: FailedAttempt) -> None:
        """Hear that a function is run again, after a serialization failure or a deadlock."""

    def leak_suspected(self, leak: SuspectedLeak) -> None:
        """Hear that a connection is held for longer than the threshold: once for each checkout."""

    def leak_returned(self, leak: SuspectedLeak) -> None:
        """Hear that a suspected connection came back after all."""


@runtime_checkable
class Exposition(Protocol):
    """An observer that can be scraped: ``setup_db`` serves it at ``metrics_path``."""

    def expose(self, accept: str, accept_encoding: str) -> tuple[Sequence[tuple[str, str]], bytes]:
        """Render what was measured.

        Args:
            accept: the request's Accept header, which chooses the format.
            accept_encoding: its Accept-Encoding header.

        Returns:
            The response's headers, and its body.

        """
        ...


def exposition_of(observers: Iterable[Observer]) -> Exposition | None:
    """Find the observer that can be scraped.

    Args:
        observers: those of one application.

    Returns:
        The observer, or None if none of them can be scraped.

    Raises:
        ValueError: several can, and there is one path.

    """
    expositions = [observer for observer in observers if isinstance(observer, Exposition)]
    if len(expositions) > 1:
        raise ValueError(
            f"several observers can be scraped, but there is one metrics_path: {expositions!r}. Give setup_db "
            "metrics_path=None and serve their expose() yourself"
        )
    return expositions[0] if expositions else None
