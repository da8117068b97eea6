"""The spans of one pool in one context. They are built when the context has ended."""

from collections.abc import Mapping
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

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

_MIN_IDLE_FOR_SPAN = 10_000_000
"""Nanoseconds: a transaction that kept its connection idle this long gets a span, to show the work done meanwhile."""

Attributes = dict[str, str | int | float]


@dataclass(slots=True)
class Totals:
    """Totals of a context's use of one pool. The context's record has only its first checkouts."""

    began_at: int
    failures: int = 0
    checkouts: int = 0
    last: Checkout | None = None
    transactions: int = 0
    statements: int = 0
    held: int = 0
    """Nanoseconds, like ``busy`` and ``idle``."""
    busy: int = 0
    idle: int = 0

    def add(self, checkout: Checkout) -> None:
        """Add a checkout to the totals."""
        self.checkouts += 1
        self.last = checkout
        self.transactions += len(checkout.transactions)
        self.statements += checkout.statements
        held, busy = checkout.released_at - checkout.taken_at, checkout.busy
        self.held += held
        self.busy += busy
        if held > busy:
            self.idle += held - busy

    def need_detail(self) -> bool:
        """Return whether the session's span needs events and child spans.

        A session of one quick transaction that was committed without an error does not.
        """
        checkout = self.last
        return (
            checkout is None
            or self.checkouts > 1
            or self.failures > 0
            or checkout.path != "idle"
            or checkout.is_early
            or len(checkout.transactions) != 1
            or checkout.transactions[0].outcome != "commit"
            or checkout.error is not None
            or self.idle >= _MIN_IDLE_FOR_SPAN
        )


class SessionSpan:
    """The span of a session, with its child spans.

    Args:
        tracer: the tracer that starts the spans.
        context: the record of a context that has ended.
        pool: the pool of the session.
        totals: the totals of the context's use of the pool.

    """

    def __init__(self, tracer: Tracer, context: ContextRecord, pool: ObservedPool, totals: Totals) -> None:
        self._tracer = tracer
        self._context = context
        self._pool = pool
        self._totals = totals
        self._name = f"db.session {pool.name}"
        self._pool_attributes = pool_attributes(pool)
        self._offset = context.epoch_offset
        self._needs_detail = context.error is not None or totals.need_detail()
        self._recorded: set[int] = set()

    def build(self, parent: Context) -> None:
        """Build the session's span as a child of the span in a context of OpenTelemetry."""
        attributes = self._attributes()
        start_time = self._totals.began_at + self._offset
        span = self._tracer.start_span(self._name, parent, attributes=attributes, start_time=start_time)
        if self._needs_detail:
            self._fill(span)
        span.end(self._context.ended_at + self._offset)

    def complete(self, span: Span) -> None:
        """Turn the span that was started with the context into the session's span."""
        span.update_name(self._name)
        span.set_attributes(self._attributes())
        if self._needs_detail:
            self._fill(span)
        span.end(self._context.ended_at + self._offset)

    def _attributes(self) -> Attributes:
        # Facts that events and child spans show are not repeated here, because each attribute costs time in the SDK.
        totals, context = self._totals, self._context
        return {
            **self._pool_attributes,
            "db.session.outcome": context.outcome if context.error is None or self._has_failed else "commit",
            "db.session.transactions": totals.transactions,
            "db.session.statements": totals.statements,
            "db.session.held_seconds": totals.held / _SECOND,
            "db.session.busy_seconds": totals.busy / _SECOND,
            "db.session.idle_seconds": totals.idle / _SECOND,
        }

    @property
    def _has_failed(self) -> bool:
        """Whether the context's commit has failed before the commit of this pool's transaction."""
        error = self._context.error
        return error is not None and not (isinstance(error, PartialCommitError) and self._pool.name in error.committed)

    def _fill(self, span: Span) -> None:
        if not span.is_recording():
            # A sampler that is not parent-based may refuse the span although its parent is sampled.
            return
        context = self._context
        below = trace.set_span_in_context(span)
        for failure in context.failed_checkouts:
            if failure.pool is self._pool:
                self._add_failed_acquire(below, failure)
        for checkout in context.checkouts:
            if checkout.pool is self._pool:
                self._add_checkout(span, below, checkout)
        for release in context.early_releases:
            if release.checkout.pool is self._pool:
                self._add_release(span, release)
        if context.error is not None and self._has_failed:
            self._record(span, context.error, context.ended_at)
            _fail(span, error_type(context.error), message(context.error))

    def _add_failed_acquire(self, below: Context, failure: FailedCheckout) -> None:
        span = self._start_acquire(below, failure.asked_at, self._pool_attributes)
        error = failure.error
        if error is not None:
            self._record(span, error, failure.ended_at)
            _fail(span, error_type(error) if failure.failure == "error" else failure.failure, message(error))
        span.end(failure.ended_at + self._offset)

    def _add_checkout(self, span: Span, below: Context, checkout: Checkout) -> None:
        if checkout.path != "idle":
            attributes: Attributes = {**self._pool_attributes, "db.session.acquire_path": checkout.path}
            self._start_acquire(below, checkout.asked_at, attributes).end(checkout.taken_at + self._offset)
        for transaction in checkout.transactions:
            self._add_transaction(below, transaction)
        if checkout.error is not None:
            # The error of a statement or a ROLLBACK outside of a transaction, which no other span has recorded.
            self._record(span, checkout.error, checkout.released_at)

    def _add_transaction(self, below: Context, transaction: Transaction) -> None:
        attributes: Attributes = {
            POOL_NAME: self._pool.name,
            "db.transaction.outcome": transaction.outcome,
            "db.transaction.statements": transaction.statements,
            "db.transaction.busy_seconds": transaction.busy / _SECOND,
        }
        start_time = transaction.started_at + self._offset
        name = f"db.transaction {self._pool.name}"
        span = self._tracer.start_span(name, below, attributes=attributes, start_time=start_time)
        error = transaction.error
        if error is not None:
            self._record(span, error, transaction.ended_at)
            # A transaction may be committed after an error, because a savepoint was rolled back in between.
            if transaction.outcome != "commit":
                _fail(span, error_type(error), message(error))
        span.end(transaction.ended_at + self._offset)

    def _add_release(self, span: Span, release: EarlyRelease) -> None:
        checkout = release.checkout
        attributes: Attributes = {
            "db.session.released_by": checkout.released_by,
            "db.session.held_seconds": checkout.hold_seconds,
            "db.session.saved_seconds": release.saved_seconds,
        }
        span.add_event("released_early", attributes, checkout.released_at + self._offset)

    def _start_acquire(self, below: Context, asked_at: int, attributes: Mapping[str, AttributeValue]) -> Span:
        name = f"db.connection.acquire {self._pool.name}"
        return self._tracer.start_span(name, below, SpanKind.CLIENT, attributes, start_time=asked_at + self._offset)

    def _record(self, span: Span, error: BaseException, at: int) -> None:
        """Add an error to a span as an event, unless another span has recorded the error or one of its causes.

        ``Span.record_exception`` is not used, because the message and the traceback of a database error quote SQL text
        and values.
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
        span.add_event("exception", attributes, at + self._offset)


def _fail(span: Span, kind: str, description: str | None) -> None:
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, description))
