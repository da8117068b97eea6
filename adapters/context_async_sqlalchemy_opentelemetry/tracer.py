"""Which contexts are traced, and what their spans hang from.

Spans are built when the context has ended, from its record: with true times, and no work before that.

    the request's span, or none
    └── db.session {pool}                    one for each pool that the context used
        ├── db.connection.acquire {pool}     where it was waited for, had to be made, or was not got
        └── db.transaction {pool}            but the one that is the whole of its session, and would only repeat it
"""

import math
from dataclasses import dataclass, field

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, Tracer

from context_async_sqlalchemy.observer import Checkout, ContextRecord, FailedCheckout, ObservedPool

from .session_span import SessionSpan, Totals

_LOOK_FOR_SDK_EVERY = 1_000_000_000
"""Nanoseconds."""


@dataclass(slots=True)
class _Trace:
    """A context that is traced.

    Attributes:
        span: the request's span; or the session's own where there is none, begun for the sampler to decide.
        is_session: which of both.

    """

    span: Span
    is_session: bool
    totals: dict[ObservedPool, Totals] = field(default_factory=dict[ObservedPool, Totals])

    def totals_of(self, pool: ObservedPool, asked_at: int) -> Totals:
        """Return the totals of a pool, of which a connection was asked for at an instant."""
        totals = self.totals.get(pool)
        if totals is None:
            totals = self.totals[pool] = Totals(asked_at)
        elif asked_at < totals.began_at:
            totals.began_at = asked_at
        return totals


class SessionTracer:
    """Makes spans of what contexts waited for, held and gave back.

    Args:
        tracer: starts the spans.

    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        # The global provider may be set later. Until then spans would be begun for nobody.
        self._may_be_without_sdk = isinstance(tracer, trace.ProxyTracer)
        self.without_sdk_until: float = -math.inf
        """An instant before which no context need be begun; asking costs as much as the rest of what is done for it."""

    def context_began(self, context: ContextRecord) -> None:
        """Decide whether the context is traced; of one that is not, nothing is kept."""
        if self._may_be_without_sdk:
            self._may_be_without_sdk = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
            if self._may_be_without_sdk:
                self.without_sdk_until = context.began_at + _LOOK_FOR_SDK_EVERY
                return
        span = trace.get_current_span()
        is_session = not span.is_recording()
        if is_session:
            parent = span.get_span_context()
            if parent.is_valid and not parent.trace_flags.sampled:
                return
            # A job; or a part of a sampled trace whose own span has ended, or is in another process.
            span = self._tracer.start_span("db.session", start_time=context.began_at + context.epoch_offset)
            if not span.is_recording():
                return
        context.keeps_history = True
        context.notes[self] = _Trace(span, is_session)

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Note that the context used the pool, if in vain."""
        context = failure.context
        traced = context.notes.get(self) if context is not None and context.keeps_history else None
        if traced is not None:
            traced.totals_of(failure.pool, failure.asked_at).failures += 1

    def checkout_ended(self, checkout: Checkout) -> None:
        """Count a checkout."""
        context = checkout.context
        traced = context.notes.get(self) if context is not None and context.keeps_history else None
        if traced is not None:
            traced.totals_of(checkout.pool, checkout.asked_at).add(checkout)

    def context_ended(self, context: ContextRecord) -> None:
        """Build the context's spans."""
        traced: _Trace | None = context.notes.pop(self, None) if context.keeps_history else None
        if traced is None:
            return
        totals = traced.totals
        in_order = totals.items() if len(totals) == 1 else sorted(totals.items(), key=lambda item: item[1].began_at)
        if not traced.is_session:
            parent = _within_request(traced.span)
            for pool, of_pool in in_order:
                SessionSpan(self._tracer, context, pool, of_pool).build(parent)
            return
        sessions = [SessionSpan(self._tracer, context, pool, of_pool) for pool, of_pool in in_order]
        # The others go below the first, so that the work stays one trace.
        parent = trace.set_span_in_context(traced.span)
        for session in sessions[1:]:
            session.build(parent)
        if sessions:
            sessions[0].complete(traced.span)
        else:
            traced.span.end(context.ended_at + context.epoch_offset)


def _within_request(at_begin: Span) -> Context:
    """Return a context with the span that is current, an outer one by now; or the first, where that is no more."""
    # Not None, which means the same: each of the four who ask for the span of "the current one" looks for it.
    context = get_current()
    span = trace.get_current_span(context)
    if span is at_begin:
        return context
    is_same_trace = span.get_span_context().trace_id == at_begin.get_span_context().trace_id
    return context if is_same_trace and span.is_recording() else trace.set_span_in_context(at_begin)
