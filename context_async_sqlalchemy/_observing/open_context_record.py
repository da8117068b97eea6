"""The record of a context while the context is open."""

import logging
from time import perf_counter_ns
from traceback import format_tb

from context_async_sqlalchemy._context.context import Context
from context_async_sqlalchemy.observer import (
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

from .listeners import Listeners, notify

logger = logging.getLogger("context_async_sqlalchemy")


class OpenContextRecord(ContextRecord):
    """A context's record from its first checkout to its end.

    Args:
        context: the context.
        listeners: the methods of observers that are called: those of the pool that the context uses first.
        began_at: the instant at which the context asked for its first connection.

    Attributes:
        early: the early releases that last: the context has not checked out a connection of the same pool since.
        failed_pool: the pool of the last checkout with an error.
        held: the number of connections that the context has checked out now.
        last_transaction: the outcome of the transaction that ended last.
        is_to_commit: whether the end of the context commits. None before the end, and if nothing was decided.

    """

    def __init__(self, context: Context, listeners: Listeners, began_at: int) -> None:
        # The route is looked up late, because some frameworks know it only after their middlewares have run.
        super().__init__(None, began_at)
        self._routing = context.rules
        self._request = context.owner
        if context.owner is None:
            self._belong_to_request(context.parent)
        self.context: Context | None = context
        self._listeners = listeners
        self.early: list[Checkout] = []
        self.last_transaction: TransactionOutcome | None = None
        self.is_to_commit: bool | None = None
        self.failed_pool: ObservedPool | None = None
        self.held = 0

    @property
    def route(self) -> str:
        """The template of the request's route, with its method; or ``NO_ROUTE``, ``UNMATCHED_ROUTE``."""
        route = self._route
        if route is None:
            route_of = self._routing.route_of
            if route_of is None:
                route = NO_ROUTE
            else:
                try:
                    route = route_of(self._request)
                except Exception as error:  # noqa: BLE001 - logged; an observer never harms the observed
                    # Neither the request nor the error's message is logged, because both may have secrets.
                    logger.error(  # noqa: TRY400 - a traceback would have the message
                        "the route of a request could not be found out, so it counts as unmatched: %s raised by\n%s",
                        type(error).__name__,
                        "".join(format_tb(error.__traceback__)),
                    )
                    # It is kept, because a second attempt would log a second time.
                    route = self._route = UNMATCHED_ROUTE
            if route != UNMATCHED_ROUTE:
                # An unmatched route is not kept, because the router may not have run yet.
                self._route = route
        return route

    @property
    def is_ending(self) -> bool:
        """Whether the end of the context has begun."""
        return self.context is None or not self.context.is_open

    @property
    def outermost(self) -> object:
        """The outermost of the open contexts that this one was opened in, without a request that is being answered."""
        outermost = self.context
        if outermost is None:
            return self
        # A websocket is open for as long as its client likes, so each of its messages is a unit of work.
        while outermost.parent is not None and not outermost.parent.response_has_begun:
            outermost = outermost.parent
        return outermost

    def checkout_began(self, pool: ObservedPool, taken_at: int) -> None:
        """Count a checkout, which ends the early release of its pool if there is one."""
        self.held += 1
        for checkout in reversed(self.early):
            if checkout.pool is pool:
                self.early.remove(checkout)
                self._end_early_release(checkout, taken_at)
                break

    def checkout_ended(self, checkout: Checkout) -> None:
        """Keep what is needed of a checkout that has ended: for the history, and as long as its early release lasts."""
        self.held -= 1
        if checkout.transactions:
            self.last_transaction = checkout.transactions[-1].outcome
        if checkout.error is not None:
            self.failed_pool = checkout.pool
        if checkout.is_early:
            self.early.append(checkout)
        if self.keeps_history:
            kept = self.checkouts
            if len(kept) < HISTORY:
                kept.append(checkout)

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Keep a failed checkout for the history."""
        if self.keeps_history and len(self.failed_checkouts) < HISTORY:
            self.failed_checkouts.append(failure)

    def attempt_failed(self, sqlstate: str, attempt: int, error: BaseException) -> None:
        """Tell the observers that a function that ran in the context is run again."""
        if self._listeners.retried:
            notify(self._listeners.retried, FailedAttempt(self.failed_pool, self, sqlstate, attempt, error))

    def commit_failed(self, error: BaseException) -> None:
        """Record that the commit at the end has raised; a cancellation is no failure unless a failure is its cause."""
        failure = error if isinstance(error, Exception) else error.__cause__
        if failure is not None:
            self.outcome = "failed"
            self.error = failure
        elif self.last_transaction != "commit":
            self.outcome = "rollback"

    def end(self) -> None:
        """Complete the record, forget the context and its request, and tell the observers."""
        if self.ended_at:
            return
        ended_at = self.ended_at = perf_counter_ns()
        if self._route is None:
            self._route = self.route
        self.context = self._request = None
        last = self.last_transaction
        if last is not None and self.outcome == "unused":
            commits = self.is_to_commit
            if commits is None:
                # The context had no session in a transaction. The application used engines, or its own sessions.
                commits = last == "commit"
            self.outcome = "commit" if commits else "rollback"
        early, self.early = self.early, []
        for checkout in early:
            self._end_early_release(checkout, ended_at)
        notify(self._listeners.context_ended, self)
        if self.keeps_history:
            notify(self._listeners.kept_context_ended, self)
        self._forget_errors()

    def _forget_errors(self) -> None:
        """Drop the exceptions, because each keeps its frames alive, and with them the request and its session."""
        self.error = None
        if self._history is not None:
            for failed in self._history.failed_checkouts:
                failed.error = None
            for checkout in self._history.checkouts:
                checkout.error = None
                for transaction in checkout.transactions:
                    transaction.error = None

    def _belong_to_request(self, around: Context | None) -> None:
        """Take the route of the nearest enclosing context that belongs to a request."""
        while around is not None:
            if around.owner is not None:
                self._routing = around.rules
                self._request = around.owner
                return
            if around.record is not None:
                # The request of the enclosing context has ended, so its owner is gone. Its record knows the route.
                self._route = around.record.route
                return
            around = around.parent
        self._route = NO_ROUTE

    def _end_early_release(self, checkout: Checkout, ended_at: int) -> None:
        listeners = self._listeners.early_release_ended
        if not listeners and not self.keeps_history:
            return
        release = EarlyRelease(checkout, ended_at)
        if self.keeps_history and len(self.early_releases) < HISTORY:
            self.early_releases.append(release)
        if listeners:
            notify(listeners, release)
