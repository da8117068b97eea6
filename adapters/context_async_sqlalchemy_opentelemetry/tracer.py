"""The tracer: it decides which contexts are traced, and finds the parents of their spans.

Spans are built from the context's record when the context has ended. They have the true times, and a request does no
work for them before.

    the request's span, or none; in a job without a span, that of the job's first session
    └── db.session {pool}                    one for each pool that the context used
        ├── db.connection.acquire {pool}     if the checkout waited, opened a connection, or failed
        └── db.transaction {pool}            unless one quick transaction is all that the session did
"""

import math
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, SpanContext, Tracer

from context_async_sqlalchemy.observer import Checkout, ContextRecord, FailedCheckout, ObservedPool

from .session_span import SessionSpan, Totals

_LOOK_FOR_SDK_EVERY = 1_000_000_000
"""Nanoseconds."""

_SQLALCHEMY_INSTRUMENTOR = "opentelemetry.instrumentation.sqlalchemy"
"""The scope of spans that OpenTelemetry's instrumentation of SQLAlchemy makes, each checkout included."""


@dataclass(slots=True)
class _Trace:
    """The trace of a context.

    Attributes:
        span: the request's span. If there is none, the session's span, which is started early so that the sampler
            decides.
        is_session: whether ``span`` is the session's span.
        totals: the totals of each pool that the context used.

    """

    span: Span
    is_session: bool
    totals: dict[ObservedPool, Totals] = field(default_factory=dict[ObservedPool, Totals])

    def totals_of(self, pool: ObservedPool, asked_at: int) -> Totals:
        """Return the totals of a pool, given the instant at which a checkout began."""
        totals = self.totals.get(pool)
        if totals is None:
            totals = self.totals[pool] = Totals(asked_at)
        elif asked_at < totals.began_at:
            totals.began_at = asked_at
        return totals


class SessionTracer:
    """Makes spans of the checkouts and transactions of contexts.

    Args:
        tracer: the tracer that starts the spans.

    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._first_of_jobs: WeakKeyDictionary[object, SpanContext] = WeakKeyDictionary()
        # The application may set the global provider later. Until then no exporter would get the spans.
        self._may_be_without_sdk = isinstance(tracer, trace.ProxyTracer)
        self.without_sdk_until: float = -math.inf
        """The instant before which callers skip ``context_began``, because the look for an SDK is slow."""

    def context_began(self, context: ContextRecord) -> None:
        """Decide whether the context is traced. The tracer keeps no data of a context that is not."""
        if self._may_be_without_sdk:
            self._may_be_without_sdk = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
            if self._may_be_without_sdk:
                self.without_sdk_until = context.began_at + _LOOK_FOR_SDK_EVERY
                return
        current = trace.get_current_span()
        span = _outside_of_checkout(current)
        parent = span.get_span_context()
        # A span that was passed over is recorded, and so is its parent.
        is_session = not parent.is_valid if span is not current else not span.is_recording()
        if is_session:
            if parent.is_valid and not parent.trace_flags.sampled:
                return
            # There is no recording span in a job, and in a part of a sampled trace whose span has ended or belongs to
            # another process. The sampler decides by a span that is started now.
            span = self._start_session(context, span)
            if not span.is_recording():
                return
        context.keeps_history = True
        context.notes[self] = _Trace(span, is_session)

    def _start_session(self, context: ContextRecord, current: Span) -> Span:
        """Start a session's span that has no recording parent: the first one of a job is the parent of the others."""
        job = None if current.get_span_context().is_valid else context.outermost
        first = self._first_of_jobs.get(job) if job is not None else None
        parent = trace.set_span_in_context(current if first is None else trace.NonRecordingSpan(first))
        span = self._tracer.start_span("db.session", parent, start_time=context.began_at + context.epoch_offset)
        if job is not None and first is None:
            self._first_of_jobs[job] = span.get_span_context()
        return span

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Add a failed checkout to the totals of its context."""
        context = failure.context
        traced = context.notes.get(self) if context is not None and context.keeps_history else None
        if traced is not None:
            traced.totals_of(failure.pool, failure.asked_at).failures += 1

    def checkout_ended(self, checkout: Checkout) -> None:
        """Add a checkout to the totals of its context."""
        context = checkout.context
        traced = context.notes.get(self) if context is not None and context.keeps_history else None
        if traced is not None:
            traced.totals_of(checkout.pool, checkout.asked_at).add(checkout)

    def context_ended(self, context: ContextRecord) -> None:
        """Build the spans of the context, if it is traced."""
        traced: _Trace | None = context.notes.pop(self, None) if context.keeps_history else None
        if traced is None:
            return
        in_order = sorted(traced.totals.items(), key=lambda item: item[1].began_at)
        if not traced.is_session:
            parent = _within_request(traced.span)
            for pool, of_pool in in_order:
                SessionSpan(self._tracer, context, pool, of_pool).build(parent)
            return
        sessions = [SessionSpan(self._tracer, context, pool, of_pool) for pool, of_pool in in_order]
        # The sessions of the other pools become children of the first session, so that they stay in one trace.
        parent = trace.set_span_in_context(traced.span)
        for session in sessions[1:]:
            session.build(parent)
        if sessions:
            sessions[0].complete(traced.span)
        else:
            traced.span.end(context.ended_at + context.epoch_offset)


def _outside_of_checkout(span: Span) -> Span:
    """Return the current span, or the parent of one by which SQLAlchemyInstrumentor traces this checkout."""
    # Only spans of the SDK tell their scope and their parent.
    if getattr(getattr(span, "instrumentation_scope", None), "name", None) != _SQLALCHEMY_INSTRUMENTOR:
        return span
    parent: SpanContext | None = getattr(span, "parent", None)
    return trace.INVALID_SPAN if parent is None else trace.NonRecordingSpan(parent)


def _within_request(at_begin: Span) -> Context:
    """Return the current context if it belongs to the request's trace, otherwise one with the request's first span.

    The current span is often an outer span by now, because the context began within an inner span.
    """
    # The context is passed explicitly. None means the same, but each of the four callees would look it up again.
    context = get_current()
    span = trace.get_current_span(context)
    if span is at_begin:
        return context
    is_same_trace = span.get_span_context().trace_id == at_begin.get_span_context().trace_id
    return context if is_same_trace and span.is_recording() else trace.set_span_in_context(at_begin)
