"""The record of a context while it is filled: what it still holds of the context, and who is told of its end."""

import logging
import time
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from .audience import Audience
from .observer import (
    HISTORY,
    NO_ROUTE,
    UNMATCHED_ROUTE,
    Checkout,
    ContextRecord,
    EarlyRelease,
    FailedAttempt,
    FailedCheckout,
    ObservedPool,
    TransactionOutcome,
)

if TYPE_CHECKING:
    from .context import Context

logger = logging.getLogger("context_async_sqlalchemy")


class ObservedContext(ContextRecord):
    """A context's record from its first checkout to its end.

    Args:
        context: which one.
        audience: whom to tell: that of the pool which it uses first.

    """

    __slots__ = ("_audience", "_early", "_failed_pool", "_last_transaction", "context")

    def __init__(self, context: "Context", audience: Audience) -> None:
        began_at = perf_counter_ns()
        super().__init__(_route_of(context), began_at, time.time_ns() - began_at)
        self.context: Context | None = context
        self._audience = audience
        # Its checkouts that were given back while it is open, and no other taken since.
        self._early: list[Checkout] | None = None
        self._last_transaction: TransactionOutcome | None = None
        # That of the last checkout with an error.
        self._failed_pool: ObservedPool | None = None
        if audience.context_began is not None:
            audience.context_began(self)

    @property
    def has_early_releases(self) -> bool:
        """Whether there is an early release to be ended."""
        return bool(self._early)

    def checkout_began(self, pool: ObservedPool, taken_at: int) -> None:
        """End an early release: the context has a connection of the pool again."""
        early = self._early or []
        for checkout in reversed(early):
            if checkout.pool is pool:
                early.remove(checkout)
                self._end_early_release(checkout, taken_at)
                break

    def checkout_ended(self, checkout: Checkout) -> None:
        """Keep what is needed at the context's end."""
        if checkout.transactions:
            self._last_transaction = checkout.transactions[-1].outcome
        if checkout.error is not None:
            self._failed_pool = checkout.pool
        if checkout.is_early:
            if self._early is None:
                self._early = []
            self._early.append(checkout)
        if self.keeps_history and len(self.checkouts) < HISTORY:
            self.checkouts.append(checkout)

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Keep a wait in vain."""
        if self.keeps_history and len(self.failed_checkouts) < HISTORY:
            self.failed_checkouts.append(failure)

    def attempt_failed(self, sqlstate: str, attempt: int, error: BaseException) -> None:
        """Tell that what runs in the context, or ran in it, is run again."""
        if self._audience.retried is not None:
            self._audience.retried(FailedAttempt(self._failed_pool, self, sqlstate, attempt, error))

    def commit_failed(self, error: BaseException) -> None:
        """Take down that the commit at the end has raised; a cancellation while it succeeded is no failure."""
        if isinstance(error, Exception) or self._last_transaction != "commit":
            self.outcome = "failed"
            self.error = error

    def settle(self, *, commits: bool) -> None:
        """Take down whether the context was to commit at its end."""
        if self.outcome == "unused" and self._last_transaction is not None:
            self.outcome = "commit" if commits else "rollback"

    def end(self) -> None:
        """Complete the record, tell of it, and let go of the context and its request."""
        if self.ended_at:
            return
        self.ended_at = perf_counter_ns()
        self._route = self.route
        self.context = None
        if self.outcome == "unused" and self._last_transaction is not None:
            # Ended without a decision: only engines were used, or sessions of the application's own.
            self.outcome = "commit" if self._last_transaction == "commit" else "rollback"
        early, self._early = self._early, None
        for checkout in early or ():
            self._end_early_release(checkout, self.ended_at)
        if self._audience.context_ended is not None:
            self._audience.context_ended(self)

    def _end_early_release(self, checkout: Checkout, ended_at: int) -> None:
        tell = self._audience.early_release_ended
        if tell is None and not self.keeps_history:
            return
        release = EarlyRelease(checkout, ended_at)
        if self.keeps_history and len(self.early_releases) < HISTORY:
            self.early_releases.append(release)
        if tell is not None:
            tell(release)


def _route_of(context: "Context") -> str | Callable[[], str]:
    """Find what knows the route: the nearest context around that belongs to a request."""
    around: Context | None = context
    while around is not None:
        if around.owner is not None:
            route_of = around.lifecycle.route_of
            return NO_ROUTE if route_of is None else partial(_ask, route_of, around.owner)
        if around.record is not None:
            # Of a request that has ended, and let go of its owner.
            return around.record.route
        around = around.parent
    return NO_ROUTE


def _ask(route_of: Callable[[Any], str], request: object) -> str:
    try:
        return route_of(request)
    except Exception:
        logger.exception("the route of %r could not be found out: it counts as unmatched", request)
        return UNMATCHED_ROUTE
