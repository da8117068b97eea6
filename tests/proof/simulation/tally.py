"""An observer that counts, and keeps no record."""

from collections import Counter

from context_async_sqlalchemy.observer import Checkout, ContextRecord, FailedCheckout, ObservedPool, Observer


class Tally(Observer):
    """Counts what it is told.

    Attributes:
        transactions: how many transactions had each outcome.
        contexts: how many contexts are open of those that have taken a connection.
        oddities: what no sequence of events can be.

    """

    def __init__(self) -> None:
        self.pools: list[ObservedPool] = []
        self.transactions: Counter[str] = Counter()
        self.contexts = 0
        self.oddities: list[str] = []

    def pool_observed(self, pool: ObservedPool) -> None:
        self.pools.append(pool)

    def context_began(self, context: ContextRecord) -> None:  # noqa: ARG002 - counted
        self.contexts += 1

    def context_ended(self, context: ContextRecord) -> None:  # noqa: ARG002 - counted
        self.contexts -= 1

    def checkout_failed(self, failure: FailedCheckout) -> None:
        if failure.ended_at < failure.asked_at:
            self.oddities.append("a wait has ended before it began")

    def checkout_ended(self, checkout: Checkout) -> None:
        if not checkout.asked_at <= checkout.taken_at <= checkout.released_at:
            self.oddities.append("a checkout's instants are out of order")
        for transaction in checkout.transactions:
            self.transactions[transaction.outcome] += 1
            if transaction.ended_at < transaction.started_at:
                self.oddities.append("a transaction has ended before it began")

    def disagreements(self, commits: int) -> list[str]:
        """Compare with the servers.

        Args:
            commits: how many transactions took effect there.

        """
        found = list(self.oddities)
        told, unknown = self.transactions["commit"], self.transactions["unknown"]
        if told > commits:
            found.append(f"{told} commits are told, and {commits} took effect")
        if told + unknown < commits:
            found.append(f"{told} commits and {unknown} unknown outcomes are told, and {commits} took effect")
        if self.contexts:
            found.append(f"{self.contexts} contexts have begun and not ended")
        for pool in self.pools:
            reading = pool.read()
            if reading.used or reading.pending:
                found.append(f"a pool is read as {reading}")
        return found
