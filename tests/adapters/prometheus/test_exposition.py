"""The body of a scrape: its formats, exemplars, and what else the registry holds."""

import gzip
import subprocess
import sys
from collections.abc import Iterable

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    disable_created_metrics,
    enable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from context_async_sqlalchemy_prometheus import PrometheusObserver, default_observer
from tests.adapters.prometheus.records import FakePool, checkout, context_of, transaction

TEXT = ""
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
ACCEPTS = [
    TEXT,
    "*/*",
    "text/plain; version=1.0.0; escaping=allow-utf-8",
    OPEN_METRICS,
    "application/openmetrics-text",
    f"{OPEN_METRICS}; escaping=allow-utf-8, text/plain; q=0.5",
    f"{OPEN_METRICS}; escaping=underscores",
    f"{OPEN_METRICS}; escaping=dots",
    f"{OPEN_METRICS}; escaping=values",
]


def _measure(observer: PrometheusObserver, route: str = "GET /") -> None:
    pool = FakePool()
    observer.pool_observed(pool)
    observer.checkout_ended(checkout(pool, context_of(route), transaction(3)))


def _sampled_by(sampler: Sampler) -> TracerProvider:
    return TracerProvider(sampler=sampler, shutdown_on_exit=False)


@pytest.mark.parametrize("accept", ACCEPTS)
def test_it_is_rendered_as_prometheus_client_does(
    observer: PrometheusObserver, registry: CollectorRegistry, accept: str
) -> None:
    with _sampled_by(ALWAYS_ON).get_tracer("test").start_as_current_span("request"):
        _measure(observer, 'GET /with"quotes"\\and\nlines/ü')
    encode, content_type = choose_encoder(accept)
    headers, body = observer.expose(accept, "identity")
    assert body == encode(registry)
    assert headers == [("Content-Type", content_type)]


def test_the_metrics_of_the_application_are_rendered_with_ours(
    observer: PrometheusObserver, registry: CollectorRegistry
) -> None:
    Counter("orders", "Orders taken.", registry=registry).inc(7)
    _measure(observer)
    _, body = observer.expose(OPEN_METRICS, "")
    lines = body.decode().splitlines()
    assert "orders_total 7.0" in lines
    assert 'db_session_statements_total{db_client_connection_pool_name="main",route="GET /"} 2.0' in lines
    assert lines.index("# EOF") == len(lines) - 1


class _Own(Collector):
    """An application's metrics whose names begin like ours."""

    def collect(self) -> Iterable[Metric]:
        for name in ("db_session_imports", "db_client_connection_checks"):
            family = CounterMetricFamily(name, "Not ours.", labels=["größe"])
            family.add_metric(["L"], 3, timestamp=1700000000.5)
            yield family


@pytest.mark.parametrize("accept", ACCEPTS)
def test_an_applications_own_metrics_are_not_taken_for_ours(
    observer: PrometheusObserver, registry: CollectorRegistry, accept: str
) -> None:
    registry.register(_Own())
    _measure(observer)
    _, body = observer.expose(accept, "")
    encode, _ = choose_encoder(accept)
    assert body == encode(registry)
    assert b" 3.0 1700000000" in body


def test_prometheus_clients_setting_for_the_time_of_creation_is_respected(observer: PrometheusObserver) -> None:
    _measure(observer)
    with_created = observer.expose(TEXT, "")[1].decode().splitlines()
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        without = observer.expose(TEXT, "")[1].decode().splitlines()
    finally:
        enable_created_metrics()  # type: ignore[no-untyped-call]
    assert without == [line for line in with_created if "_created" not in line]
    assert len(without) < len(with_created)


def test_gzip_is_used_where_it_is_accepted(observer: PrometheusObserver) -> None:
    _measure(observer)
    _, plain = observer.expose(TEXT, "deflate")
    headers, body = observer.expose(TEXT, "deflate, gzip;q=0.5")
    assert ("Content-Encoding", "gzip") in headers
    assert gzip.decompress(body) == plain


@pytest.mark.parametrize(("sampler", "has_exemplars"), [(ALWAYS_ON, True), (ALWAYS_OFF, False)])
def test_a_sampled_trace_is_an_exemplar(observer: PrometheusObserver, sampler: Sampler, has_exemplars: bool) -> None:
    with _sampled_by(sampler).get_tracer("test").start_as_current_span("request") as span:
        _measure(observer)
    ids = span.get_span_context()
    exemplar = f'# {{span_id="{ids.span_id:016x}",trace_id="{ids.trace_id:032x}"}} 0.002 '
    assert (exemplar in observer.expose(OPEN_METRICS, "")[1].decode()) == has_exemplars
    assert b"trace_id" not in observer.expose(TEXT, "")[1]


def test_without_a_trace_there_is_no_exemplar(observer: PrometheusObserver) -> None:
    _measure(observer)
    assert b"trace_id" not in observer.expose(OPEN_METRICS, "")[1]


def test_a_process_that_begins_to_trace_has_exemplars_at_once(observer: PrometheusObserver) -> None:
    _measure(observer)
    with _sampled_by(ALWAYS_ON).get_tracer("test").start_as_current_span("request"):
        _measure(observer)
    assert b"trace_id" in observer.expose(OPEN_METRICS, "")[1]


def test_opentelemetry_is_not_needed() -> None:
    program = """
import sys
sys.modules["opentelemetry"] = None
from prometheus_client import CollectorRegistry
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.adapters.prometheus.records import FakePool, checkout
observer = PrometheusObserver(CollectorRegistry())
observer.checkout_ended(checkout(FakePool(), None))
print(observer.expose("", "")[1].count(b"db_session_statements_total{"))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert result.stdout.strip() == "1"


def test_a_registry_has_one_observer(observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    assert observer is not None
    with pytest.raises(ValueError, match="db_client_connection_count"):
        PrometheusObserver(registry)


def test_the_default_observer_is_one_and_uses_the_default_registry() -> None:
    assert default_observer() is default_observer()
    with pytest.raises(ValueError, match="Duplicated"):
        PrometheusObserver(REGISTRY)
