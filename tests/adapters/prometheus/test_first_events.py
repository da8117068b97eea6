"""Series of troubles are there before the trouble: Prometheus sees no increase in a series that begins at one."""

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from context_async_sqlalchemy.observer import FailedAttempt, NestedCheckout, SuspectedLeak
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.adapters.prometheus.records import FakePool, checkout, context_of, failed, transaction

ROUTE = "POST /orders"
OF_POOL = {"db_client_connection_pool_name": "main"}
OF_ROUTE = {**OF_POOL, "route": ROUTE}

Trouble = Callable[[PrometheusObserver, FakePool], None]
TROUBLES: list[tuple[str, dict[str, str], Trouble]] = [
    (
        "db_client_connection_timeouts_total",
        OF_ROUTE,
        lambda observer, pool: observer.checkout_failed(failed(pool, context_of(ROUTE), "timeout", 9)),
    ),
    (
        "db_session_requests_shed_total",
        OF_ROUTE,
        lambda observer, pool: observer.checkout_failed(failed(pool, context_of(ROUTE), "shed", 9)),
    ),
    (
        "db_session_transaction_duration_seconds_count",
        {**OF_ROUTE, "outcome": "unknown"},
        lambda observer, pool: observer.checkout_ended(checkout(pool, context_of(ROUTE), transaction(3, "unknown"))),
    ),
    (
        "db_session_nested_checkouts_total",
        OF_ROUTE,
        lambda observer, pool: observer.nested_checkout(NestedCheckout(pool, context_of(ROUTE))),
    ),
    *(
        (
            "db_session_retries_total",
            {**OF_ROUTE, "sqlstate": sqlstate},
            lambda observer, pool, sqlstate=sqlstate: observer.retried(
                FailedAttempt(pool, context_of(ROUTE), sqlstate, 1, TimeoutError())
            ),
        )
        for sqlstate in ("40001", "40P01")
    ),
    (
        "db_session_leaks_suspected_total",
        OF_POOL,
        lambda observer, pool: observer.leak_suspected(SuspectedLeak(checkout(pool, None), 9.0, "")),
    ),
    (
        "db_session_waits_cancelled_total",
        OF_POOL,
        lambda observer, pool: observer.checkout_failed(failed(pool, context_of(ROUTE), "cancelled", 9)),
    ),
    (
        "db_session_invalidations_total",
        OF_POOL,
        lambda observer, pool: observer.connection_invalidated(pool),
    ),
    (
        "db_session_contexts_total",
        {"outcome": "failed"},
        lambda observer, _pool: observer.context_ended(context_of(ROUTE, "failed")),
    ),
]


def test_the_first_scrape_of_a_process_has_a_series(registry: CollectorRegistry, observer: PrometheusObserver) -> None:
    """The alerts tell by it whether a process was scraped before the series of a trouble began."""
    assert observer
    assert registry.get_sample_value("db_session_contexts_total", {"outcome": "commit"}) == 0


@pytest.mark.parametrize(("name", "labels", "trouble"), TROUBLES, ids=[trouble[0] for trouble in TROUBLES])
def test_the_first_trouble_is_an_increase(
    observer: PrometheusObserver, registry: CollectorRegistry, name: str, labels: dict[str, str], trouble: Trouble
) -> None:
    pool = FakePool()
    observer.pool_observed(pool)
    observer.checkout_ended(checkout(pool, context_of(ROUTE), transaction(3)))
    assert registry.get_sample_value(name, labels) == 0
    trouble(observer, pool)
    assert registry.get_sample_value(name, labels) == 1
