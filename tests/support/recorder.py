"""An observer that keeps whatever it is told."""

from context_async_sqlalchemy.observer import (
    Checkout,
    ContextRecord,
    EarlyRelease,
    FailedAttempt,
    FailedCheckout,
    NestedCheckout,
    ObservedPool,
    Observer,
    SuspectedLeak,
)


class Recorder(Observer):
    """Keeps all records, in the order of their coming."""

    def __init__(self, *, keeps_history: bool = False) -> None:
        self.keeps_history = keeps_history
        self.pools: list[ObservedPool] = []
        self.forgotten: list[ObservedPool] = []
        self.connect_times: list[float] = []
        self.invalidations = 0
        self.begun: list[ContextRecord] = []
        self.contexts: list[ContextRecord] = []
        self.failed_contexts: list[ContextRecord] = []
        self.failures: list[FailedCheckout] = []
        self.checkouts: list[Checkout] = []
        self.errors: list[str] = []
        self.early: list[EarlyRelease] = []
        self.nested: list[NestedCheckout] = []
        self.retries: list[FailedAttempt] = []
        self.suspected: list[SuspectedLeak] = []
        self.returned: list[SuspectedLeak] = []

    def pool_observed(self, pool: ObservedPool) -> None:
        self.pools.append(pool)

    def pool_forgotten(self, pool: ObservedPool) -> None:
        self.forgotten.append(pool)

    def connected(self, pool: ObservedPool, seconds: float) -> None:
        assert pool in self.pools
        self.connect_times.append(seconds)

    def connection_invalidated(self, pool: ObservedPool) -> None:
        assert pool in self.pools
        self.invalidations += 1

    def context_began(self, context: ContextRecord) -> None:
        if self.keeps_history:
            context.keeps_history = True
        self.begun.append(context)

    def context_ended(self, context: ContextRecord) -> None:
        self.contexts.append(context)
        if context.error is not None:
            self.failed_contexts.append(context)

    def checkout_failed(self, failure: FailedCheckout) -> None:
        self.failures.append(failure)

    def checkout_ended(self, checkout: Checkout) -> None:
        self.checkouts.append(checkout)
        # A record forgets its exceptions once its context has ended.
        for error in (checkout.error, *(transaction.error for transaction in checkout.transactions)):
            if error is not None:
                self.errors.append(str(error))

    def early_release_ended(self, release: EarlyRelease) -> None:
        self.early.append(release)

    def nested_checkout(self, nested: NestedCheckout) -> None:
        self.nested.append(nested)

    def retried(self, attempt: FailedAttempt) -> None:
        self.retries.append(attempt)

    def leak_suspected(self, leak: SuspectedLeak) -> None:
        self.suspected.append(leak)

    def leak_returned(self, leak: SuspectedLeak) -> None:
        self.returned.append(leak)

    @property
    def transactions(self) -> list[str]:
        """The outcomes of all transactions."""
        return [transaction.outcome for checkout in self.checkouts for transaction in checkout.transactions]

    @property
    def statements(self) -> int:
        """How many statements ran in all checkouts."""
        return sum(checkout.statements for checkout in self.checkouts)
