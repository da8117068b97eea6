"""Which contexts are traced: as the request's span is; without one, as the sampler decides."""

import asyncio
import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, DEFAULT_OFF, ParentBased, Sampler
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver

from .records import Pool, checkout, context, tell_all, unix
from .traces import Traces, attributes, is_child, times

WITHOUT_AN_SDK = """
import sys
sys.modules["opentelemetry.sdk"] = None
from context_async_sqlalchemy_opentelemetry import default_observer
from tests.adapters.opentelemetry.records import Pool, checkout, context, tell_all
record = context()
tell_all(default_observer(), record, checkout(record, Pool(), 1.0, 1.0, 2.0))
print(record.keeps_history, len(record.checkouts), record.notes)
"""


def _remote(flags: int) -> NonRecordingSpan:
    return NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(flags)))


def test_a_job_is_a_trace_of_its_own(traces: Traces, observer: OpenTelemetryObserver) -> None:
    record = context(began=1.0, ended=3.0)
    tell_all(observer, record, checkout(record, Pool(), 1.0, 1.5, 3.0, path="queued"))
    session = traces.one("db.session main")
    assert session.parent is None
    assert times(session) == (unix(1.0), unix(3.0))
    assert attributes(session)["db.session.held_seconds"] == 1.5
    assert is_child(traces.one("db.connection.acquire main"), session)


def test_a_job_with_two_databases_is_one_trace(traces: Traces, observer: OpenTelemetryObserver) -> None:
    record = context()
    tell_all(
        observer,
        record,
        checkout(record, Pool("second"), 1.5, 1.5, 2.0),
        checkout(record, Pool("first"), 1.0, 1.0, 2.0),
    )
    assert traces.one("db.session first").parent is None
    assert is_child(traces.one("db.session second"), traces.one("db.session first"))


def test_a_context_that_got_no_connection_at_all_has_a_span(traces: Traces, observer: OpenTelemetryObserver) -> None:
    record = context(outcome="unused")
    tell_all(observer, record)
    assert traces.names() == ["db.session"]


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF, ParentBased(ALWAYS_OFF)])
def test_below_a_request_that_is_not_sampled_nothing_is_kept_or_built(sampler: Sampler) -> None:
    requests, ours = Traces(ALWAYS_OFF), Traces(sampler)
    observer, record = OpenTelemetryObserver(tracer_provider=ours.provider), context()
    with requests.tracer.start_as_current_span("request"):
        tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 2.0))
    assert (record.keeps_history, record.notes, ours.names()) == (False, {}, [])


def test_the_conventions_that_the_names_are_of_are_told(traces: Traces, observer: OpenTelemetryObserver) -> None:
    record = context()
    tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 2.0))
    scope = traces.one("db.session main").instrumentation_scope
    assert scope is not None
    assert scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"


def test_a_job_that_the_sampler_refuses_keeps_nothing() -> None:
    traces = Traces(DEFAULT_OFF)
    observer, record = OpenTelemetryObserver(tracer_provider=traces.provider), context()
    tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 2.0))
    assert (record.keeps_history, record.notes, traces.names()) == (False, {}, [])


def test_without_an_sdk_nothing_is_kept_or_built() -> None:
    printed = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", WITHOUT_AN_SDK], capture_output=True, text=True, check=True
    ).stdout
    assert printed.split() == ["False", "0", "{}"]


def test_a_provider_that_is_set_after_the_observer_was_made_is_used(
    traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer, record = OpenTelemetryObserver(), context()
    # set_tracer_provider works once in a process.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", traces.provider)
    tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 2.0))
    assert traces.names() == ["db.session main"]


def test_a_provider_that_is_set_later_is_found_within_a_second(traces: Traces, monkeypatch: pytest.MonkeyPatch) -> None:
    observer = OpenTelemetryObserver()
    for began, count in ((1.0, 0), (1.9, 0), (2.0, 1), (2.1, 2)):
        record = context(began=began, ended=3.0)
        tell_all(observer, record, checkout(record, Pool(), began, began, 2.5))
        assert len(traces.all("db.session main")) == count
        # set_tracer_provider works once in a process.
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", traces.provider)


@pytest.mark.parametrize(("flags", "count"), [(TraceFlags.SAMPLED, 1), (TraceFlags.DEFAULT, 0)])
def test_a_trace_of_another_process_is_continued_if_it_is_sampled(
    traces: Traces, observer: OpenTelemetryObserver, flags: int, count: int
) -> None:
    record = context()
    with use_span(_remote(flags)):
        tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 2.0))
    sessions = traces.all("db.session main")
    assert len(sessions) == count
    assert all(session.parent and session.parent.span_id == 0xDEF for session in sessions)


async def test_a_task_that_outlives_its_request_belongs_to_its_trace(
    traces: Traces, observer: OpenTelemetryObserver
) -> None:
    request_has_ended = asyncio.Event()

    async def send_mail() -> None:
        await request_has_ended.wait()
        record = context()
        tell_all(observer, record, checkout(record, Pool(), 1.0, 1.0, 2.0))

    with traces.tracer.start_as_current_span("request"):
        task = asyncio.create_task(send_mail())
    request_has_ended.set()
    await task
    assert is_child(traces.one("db.session main"), traces.one("request"))
