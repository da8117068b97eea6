"""The spans of one pool in one context, built when they are over."""

from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from context_async_sqlalchemy import PartialCommitError
from context_async_sqlalchemy.observer import (
    Checkout,
    ContextRecord,
    EarlyRelease,
    FailedCheckout,
    ObservedPool,
    Transaction,
)

from .attributes import ERROR_TYPE, POOL_NAME, class_name, error_type, message, pool_attributes

_SECOND = 1e9

Attributes = dict[str, str | int | float]


@dataclass(slots=True)
class Totals:
    """What a context did with one pool, counted: its record keeps only the first checkouts of many."""

    began_at: int
    transactions: int = 0
    statements: int = 0
    held: float = 0.0
    idle: float = 0.0
    busy: int = 0
    """Nanoseconds; the two above are seconds."""

    def add(self, checkout: Checkout) -> None:
        """Count a checkout."""
        self.transactions += len(checkout.transactions)
        self.statements += checkout.statements
        self.held += checkout.hold_seconds
        self.idle += checkout.idle_seconds
        self.busy += checkout.busy


class SessionSpan:
    """The span of a session, and those below it.

    Args:
        tracer: starts the spans.
        context: the record of a context that has ended.
        pool: the pool of the session.
        totals: what the context did with it.

    """

    def __init__(self, tracer: Tracer, context: ContextRecord, pool: ObservedPool, totals: Totals) -> None:
        self._tracer = tracer
        self._context = context
        self._pool = pool
        self._totals = totals
        self._name = f"db.session {pool.name}"
        self._pool_attributes: Attributes = {**pool_attributes(pool)}
        self._recorded: set[int] = set()

    def build(self, parent: Context) -> None:
        """Build the session's span below another one."""
        span = self._start(self._name, parent, self._totals.began_at, self._attributes())
        self._fill(span)
        self._end(span, self._context.ended_at)

    def complete(self, span: Span) -> None:
        """Make a span that was begun with the context the session's."""
        span.update_name(self._name)
        span.set_attributes(self._attributes())
        self._fill(span)
        self._end(span, self._context.ended_at)

    def _attributes(self) -> Attributes:
        # What events and spans below say is not repeated: each attribute costs the SDK most of a microsecond.
        totals = self._totals
        return {
            **self._pool_attributes,
            "db.session.outcome": "commit" if self._is_committed_part else self._context.outcome,
            "db.session.transactions": totals.transactions,
            "db.session.statements": totals.statements,
            "db.session.held_seconds": totals.held,
            "db.session.busy_seconds": totals.busy / _SECOND,
            "db.session.idle_seconds": totals.idle,
        }

    @property
    def _is_committed_part(self) -> bool:
        """Whether this pool's transaction was committed before the commit of another one failed."""
        error = self._context.error
        return isinstance(error, PartialCommitError) and self._pool.name in error.committed

    def _fill(self, span: Span) -> None:
        if not span.is_recording():
            # A sampler that is not parent-based has refused it.
            return
        below = trace.set_span_in_context(span)
        context = self._context
        for failure in context.failed_checkouts:
            if failure.pool is self._pool:
                self._add_failed_acquire(below, failure)
        for checkout in context.checkouts:
            if checkout.pool is self._pool:
                self._add_checkout(span, below, checkout)
        for release in context.early_releases:
            if release.checkout.pool is self._pool:
                self._add_release(span, release)
        if context.error is not None and not self._is_committed_part:
            self._record(span, context.error, context.ended_at)
            _fail(span, error_type(context.error), message(context.error))

    def _add_failed_acquire(self, below: Context, failure: FailedCheckout) -> None:
        span = self._start_acquire(below, failure.asked_at, {})
        self._record(span, failure.error, failure.ended_at)
        kind = error_type(failure.error) if failure.failure == "error" else failure.failure
        _fail(span, kind, message(failure.error))
        self._end(span, failure.ended_at)

    def _add_checkout(self, span: Span, below: Context, checkout: Checkout) -> None:
        if checkout.path != "idle":
            acquire = self._start_acquire(below, checkout.asked_at, {"db.session.acquire_path": checkout.path})
            self._end(acquire, checkout.taken_at)
        for transaction in checkout.transactions:
            self._add_transaction(below, transaction)
        if checkout.error is not None:
            # Of a statement or a ROLLBACK outside of any transaction.
            self._record(span, checkout.error, checkout.released_at)

    def _add_transaction(self, below: Context, transaction: Transaction) -> None:
        attributes: Attributes = {
            POOL_NAME: self._pool.name,
            "db.transaction.outcome": transaction.outcome,
            "db.transaction.statements": transaction.statements,
            "db.transaction.busy_seconds": transaction.busy / _SECOND,
        }
        span = self._start(f"db.transaction {self._pool.name}", below, transaction.started_at, attributes)
        error = transaction.error
        if error is not None:
            self._record(span, error, transaction.ended_at)
            # After an error within a savepoint it may have been committed all the same.
            if transaction.outcome != "commit":
                _fail(span, error_type(error), message(error))
        self._end(span, transaction.ended_at)

    def _add_release(self, span: Span, release: EarlyRelease) -> None:
        checkout = release.checkout
        attributes: Attributes = {
            "db.session.released_by": checkout.released_by,
            "db.session.held_seconds": checkout.hold_seconds,
            "db.session.saved_seconds": release.saved_seconds,
        }
        span.add_event("released_early", attributes, checkout.released_at + self._context.epoch_offset)

    def _start_acquire(self, below: Context, asked_at: int, path: Attributes) -> Span:
        name = f"db.connection.acquire {self._pool.name}"
        return self._start(name, below, asked_at, {**self._pool_attributes, **path}, SpanKind.CLIENT)

    def _start(
        self, name: str, parent: Context, at: int, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL
    ) -> Span:
        return self._tracer.start_span(name, parent, kind, attributes, start_time=at + self._context.epoch_offset)

    def _end(self, span: Span, at: int) -> None:
        span.end(at + self._context.epoch_offset)

    def _record(self, span: Span, error: BaseException, at: int) -> None:
        """Add an error to the span it happened in, unless another one has it, or what it was raised from.

        Not by ``Span.record_exception``: a database's error quotes SQL text and values, in its trace too.
        """
        chain: set[int] = set()
        cause: BaseException | None = error
        while cause is not None and id(cause) not in chain:
            chain.add(id(cause))
            cause = cause.__cause__
        if chain & self._recorded:
            return
        self._recorded.add(id(error))
        attributes: Attributes = {"exception.type": class_name(error)}
        what_it_says = message(error)
        if what_it_says is not None:
            attributes["exception.message"] = what_it_says
        span.add_event("exception", attributes, at + self._context.epoch_offset)


def _fail(span: Span, kind: str, description: str | None) -> None:
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, description))
