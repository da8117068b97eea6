"""The gauges of the pools: read at the scrape."""

import pytest
from prometheus_client import CollectorRegistry

from context_async_sqlalchemy.observer import PoolPeaks, PoolReading
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.adapters.prometheus.records import FakePool


def _gauge(registry: CollectorRegistry, name: str, pool: str = "main", state: str | None = None) -> float | None:
    labels = {"db_client_connection_pool_name": pool}
    if state is not None:
        labels["db_client_connection_state"] = state
    return registry.get_sample_value(f"db_client_connection_{name}", labels)


def test_a_scrape_sees_what_the_pool_is_doing_then(observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    pool = FakePool()
    observer.pool_observed(pool)
    assert _gauge(registry, "count", state="used") == 0
    pool.reading = PoolReading(used=7, idle=2, pending=4, maximum=10, idle_maximum=5)
    assert _gauge(registry, "count", state="used") == 7
    assert _gauge(registry, "count", state="idle") == 2
    assert _gauge(registry, "pending_requests") == 4
    assert _gauge(registry, "max") == 10
    assert _gauge(registry, "idle_max") == 5


def test_a_pool_without_a_limit_has_no_series_of_it(observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    pool = FakePool()
    pool.reading = PoolReading(used=7, idle=0, pending=0, maximum=None, idle_maximum=None)
    observer.pool_observed(pool)
    assert _gauge(registry, "count", state="used") == 7
    assert _gauge(registry, "max") is None
    assert _gauge(registry, "idle_max") is None


@pytest.mark.parametrize(("unlimited", "maximum"), [(False, 20), (True, None)])
def test_pools_of_one_name_are_one(
    observer: PrometheusObserver, registry: CollectorRegistry, unlimited: bool, maximum: int | None
) -> None:
    old, new = FakePool(), FakePool()
    old.reading = PoolReading(used=3, idle=1, pending=1, maximum=10, idle_maximum=5)
    new.reading = PoolReading(used=2, idle=0, pending=0, maximum=None if unlimited else 10, idle_maximum=5)
    for pool in (old, new, new):
        observer.pool_observed(pool)
    assert _gauge(registry, "count", state="used") == 5
    assert _gauge(registry, "max") == maximum
    assert _gauge(registry, "idle_max") == 10


def _share_and_peaks(registry: CollectorRegistry) -> list[float | None]:
    labels = {"db_client_connection_pool_name": "main"}
    names = ("utilization_ratio", "used_peak", "pending_peak")
    return [registry.get_sample_value(f"db_session_pool_{name}", labels) for name in names]


def test_how_full_the_fullest_pool_of_a_name_is(observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    full, empty, unlimited = FakePool(), FakePool(), FakePool()
    full.reading = PoolReading(used=8, idle=0, pending=3, maximum=10, idle_maximum=5)
    full.highest, empty.highest = PoolPeaks(used=9, pending=4), PoolPeaks(used=1, pending=6)
    unlimited.reading = PoolReading(used=70, idle=0, pending=0, maximum=None, idle_maximum=None)
    observer.pool_observed(unlimited)
    assert _share_and_peaks(registry) == [None, 0, 0]
    for pool in (empty, full):
        observer.pool_observed(pool)
    assert _share_and_peaks(registry) == [0.8, 9, 6]


def _servers(registry: CollectorRegistry) -> dict[str, float]:
    (family,) = (family for family in registry.collect() if family.name == "db_session_server_connections")
    return {
        f"{sample.labels['server_address']}:{sample.labels['server_port']}": sample.value for sample in family.samples
    }


def test_a_host_that_is_drained_counts_until_then(observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    old, new, file = FakePool(server_address="old.example"), FakePool(server_address="new.example"), FakePool("file")
    old.reading = PoolReading(used=2, idle=0, pending=0, maximum=2, idle_maximum=0)
    for pool in (old, new, file):
        observer.pool_observed(pool)
    assert _servers(registry) == {"old.example:5432": 2, "new.example:5432": 0}
    new.reading = PoolReading(used=1, idle=3, pending=0, maximum=10, idle_maximum=5)
    observer.pool_forgotten(old)
    assert _servers(registry) == {"new.example:5432": 4}


def test_a_pool_that_is_forgotten_is_not_read(observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    pool = FakePool()
    observer.pool_observed(pool)
    observer.pool_forgotten(pool)
    observer.pool_forgotten(pool)
    assert _gauge(registry, "count", state="used") is None


def test_the_counters_of_a_pool_begin_at_zero(observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    observer.pool_observed(FakePool())
    for counter in ("leaks_suspected", "waits_cancelled", "invalidations"):
        labels = {"db_client_connection_pool_name": "main"}
        assert registry.get_sample_value(f"db_session_{counter}_total", labels) == 0
