"""What an observer is told."""

from .records import (
    Checkout,
    ContextRecord,
    EarlyRelease,
    FailedAttempt,
    FailedCheckout,
    NestedCheckout,
    ObservedPool,
    SuspectedLeak,
)


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
