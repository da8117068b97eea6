"""Several threads: event loops that measure into the same series, while another thread renders a scrape."""

import gc
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from types import FrameType
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from context_async_sqlalchemy_prometheus import PrometheusObserver, series
from tests.adapters.prometheus.records import FakePool, checkout, context_of, transaction

REQUESTS = 30
LOOPS = 2
ROUTE = {"db_client_connection_pool_name": "main", "route": "GET /"}
TRANSACTION = {**ROUTE, "outcome": "commit"}
HISTOGRAMS = {
    "db_client_connection_wait_time": (ROUTE, 0.002),
    "db_client_connection_use_time": (ROUTE, 0.06),
    "db_session_held_idle": (ROUTE, 0.04),
    "db_session_transaction_duration": (TRANSACTION, 0.003),
}


def _let_others_run_at_each_step(frame: FrameType, _event: str, _argument: Any) -> Any:
    """Trace what the series do, and give way between any two bytecodes; the interpreter does so only at some."""
    if frame.f_code.co_filename != series.__file__:
        return None
    frame.f_trace_opcodes = True
    time.sleep(0)
    return _let_others_run_at_each_step


def _request(observer: PrometheusObserver, pool: FakePool) -> None:
    context = context_of("GET /")
    observer.checkout_ended(checkout(pool, context, transaction(3)))
    observer.context_ended(context)


def _sample(registry: CollectorRegistry, name: str, labels: dict[str, str]) -> float:
    value = registry.get_sample_value(name, labels)
    assert value is not None
    return value


def test_nothing_is_lost_when_threads_measure_at_once_and_scrapes_are_consistent(
    observer: PrometheusObserver, registry: CollectorRegistry
) -> None:
    pool = FakePool()
    _request(observer, pool)
    started = Barrier(LOOPS + 1)

    def measure() -> None:
        started.wait()
        sys.settrace(_let_others_run_at_each_step)
        try:
            for _ in range(REQUESTS):
                _request(observer, pool)
        finally:
            sys.settrace(None)

    def read(family: str) -> tuple[float, float]:
        """Read a count, and what its sum would be, from one scrape."""
        labels, seconds = HISTOGRAMS[family]
        samples = [sample for each in registry.collect() for sample in each.samples if sample.labels == labels]
        values = {sample.name: sample.value for sample in samples}
        return values[f"{family}_seconds_count"], values[f"{family}_seconds_sum"] / seconds

    with ThreadPoolExecutor(LOOPS) as threads:
        measuring = [threads.submit(measure) for _ in range(LOOPS)]
        started.wait()
        while not all(each.done() for each in measuring):
            for family in HISTOGRAMS:
                count, count_by_sum = read(family)
                assert count == pytest.approx(count_by_sum, rel=1e-9)
        for each in measuring:
            each.result()
    requests = 1 + LOOPS * REQUESTS
    for family in HISTOGRAMS:
        assert read(family) == pytest.approx((requests, requests), rel=1e-9)
    assert _sample(registry, "db_session_statements_total", ROUTE) == 2 * requests
    assert _sample(registry, "db_session_contexts_total", {"outcome": "commit"}) == requests


def test_what_the_garbage_collector_finds_during_a_measurement_is_measured(
    observer: PrometheusObserver, registry: CollectorRegistry
) -> None:
    pool, found = FakePool(), 0

    def lose_a_connection(phase: str, _info: dict[str, int]) -> None:
        nonlocal found
        if phase == "stop":
            found += 1
            observer.checkout_ended(checkout(pool, context_of("GET /"), transaction(3)))

    def measure() -> None:
        threshold = gc.get_threshold()
        gc.callbacks.append(lose_a_connection)
        gc.set_threshold(1)
        try:
            for _ in range(100):
                _request(observer, pool)
                generate_latest(registry)
        finally:
            gc.set_threshold(*threshold)
            gc.callbacks.remove(lose_a_connection)

    measuring = Thread(target=measure, daemon=True)
    measuring.start()
    measuring.join(timeout=60)
    assert not measuring.is_alive(), "it waits for itself"
    assert found
    assert _sample(registry, "db_client_connection_wait_time_seconds_count", ROUTE) == 100 + found
