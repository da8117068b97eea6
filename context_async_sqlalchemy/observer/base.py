"""The class that every observer derives from."""

# ruff: noqa: D401 - a method says when it is called, which is all that there is to say of it

from collections.abc import Iterable

from .pools import ObservedPool
from .records import (
    Checkout,
    ContextRecord,
    EarlyRelease,
    FailedAttempt,
    FailedCheckout,
    NestedCheckout,
    SuspectedLeak,
)
from .resources import Resource


class Observer:
    """Gets a record of each event on the connections. Override the methods of the events that you need.

    Every method does nothing by default.

    The application's tasks call the methods, so a method must be quick and must not block. The library logs an
    exception of a method, once for each observer and method, and the application goes on.

    Attributes:
        hears_of_kept_only: whether ``checkout_ended`` and ``context_ended`` are called only for contexts whose
            ``keeps_history`` is set. An observer sets ``keeps_history`` in ``context_began`` to choose its contexts.

    """

    hears_of_kept_only: bool = False

    def resources(self) -> Iterable[Resource]:
        """Called by ``setup_db``, which serves the returned resources over HTTP: by default none."""
        return ()

    def workers_starting(self, workers: int) -> None:
        """Called in a server's main process before it starts its worker processes, with their number."""

    def application_started(self) -> None:
        """Called in the event loop of an application before its first request, in each process that serves it."""

    def application_stopped(self) -> None:
        """Called in the event loop of an application after its last request, when its engines are disposed of."""

    def pool_observed(self, pool: ObservedPool) -> None:
        """Called when an engine was made. Its pool is observed from now on."""

    def pool_forgotten(self, pool: ObservedPool) -> None:
        """Called when an engine was disposed of for good, or was replaced by an engine of another host and drained."""

    def connected(self, pool: ObservedPool, seconds: float) -> None:
        """Called when a connection was opened, with the seconds that this took."""

    def connection_invalidated(self, pool: ObservedPool) -> None:
        """Called when a connection was invalidated because of an error on it."""

    def context_began(self, context: ContextRecord) -> None:
        """Called when a context begins its first checkout."""

    def context_ended(self, context: ContextRecord) -> None:
        """Called when a context that had begun a checkout has ended. Its sessions are closed."""

    def checkout_began(self, checkout: Checkout) -> None:
        """Called when a connection was checked out. The rest of the record is complete at ``checkout_ended``.

        The task that has asked for the connection calls it, in the greenlet of SQLAlchemy. The current context is that
        of the checkout.
        """

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Called when a checkout timed out, was shed or cancelled, or could not open a connection."""

    def checkout_ended(self, checkout: Checkout) -> None:
        """Called when a connection was returned to its pool or was lost."""

    def early_release_ended(self, release: EarlyRelease) -> None:
        """Called when a context that had released a connection early checks one out again, or ends."""

    def nested_checkout(self, nested: NestedCheckout) -> None:
        """Called when a context begins a checkout while it holds a connection of the same pool."""

    def context_used_late(self) -> None:
        """Called where code uses a context that has ended, before the code gets a ``ContextClosedError``.

        Only an observer of the whole process gets it (``adapter_kit.observe_process``), because a context that has
        ended no longer knows its application. The current context is the one that has ended.
        """

    def retried(self, attempt: FailedAttempt) -> None:
        """Called when a function is run again after a serialization failure or a deadlock."""

    def leak_suspected(self, leak: SuspectedLeak) -> None:
        """Called when a connection is held for longer than the threshold, once for each checkout."""

    def leak_returned(self, leak: SuspectedLeak) -> None:
        """Called when a connection of a suspected leak was returned after all."""
