"""What measuring costs a request, and a scrape the process: milliseconds of the processor, of a hand-filled registry.

python -m tools.benchmarks.scrape [--routes 200]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from context_async_sqlalchemy.observer import (
    Checkout,
    ContextRecord,
    EarlyRelease,
    ObservedPool,
    PoolPeaks,
    PoolReading,
    Transaction,
    TransactionOutcome,
)
from context_async_sqlalchemy_prometheus import PrometheusObserver

FORMATS = {"text": "", "OpenMetrics": "application/openmetrics-text; version=1.0.0"}
MILLISECOND = 1_000_000
ROUNDS = 15
REQUESTS = 2_000


class _Pool:
    name = "main"
    server_address = None
    server_port = None
    database = None
    system = "postgresql"

    def read(self) -> PoolReading:
        return PoolReading(used=3, idle=7, pending=0, maximum=10, idle_maximum=5)

    def peaks(self) -> PoolPeaks:
        return PoolPeaks(used=5, pending=0)


def _checkout(
    pool: ObservedPool, route: str, outcome: TransactionOutcome = "commit", *, early: bool = False
) -> Checkout:
    context = ContextRecord(route, 0, 0)
    times = [3 * MILLISECOND, 4 * MILLISECOND, 30 * MILLISECOND]
    transactions = [Transaction(times[1], times[2], statements=2, outcome=outcome)]
    checkout = Checkout(pool, context, times[0], times[1], times[2], statements=2, busy=9 * MILLISECOND)
    checkout.transactions.extend(transactions)
    if early:
        checkout.released_by, checkout.is_early = "commit", True
    return checkout


def fill(observer: PrometheusObserver, routes: int) -> None:
    """Fill what an application has after a while: all commit, half have failed once, a quarter releases early."""
    pool = _Pool()
    observer.pool_observed(pool)
    for number in range(routes):
        route = f"GET /resources{number}/{{id}}"
        observer.checkout_ended(_checkout(pool, route))
        if number % 2:
            observer.checkout_ended(_checkout(pool, route, "rollback"))
        if number % 4 == 0:
            checkout = _checkout(pool, route, early=True)
            observer.checkout_ended(checkout)
            observer.early_release_ended(EarlyRelease(checkout, 80 * MILLISECOND))


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * 1e3


def _scrapes(observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    print("a scrape, in milliseconds (median, least):")
    for name, accept in FORMATS.items():
        ways: dict[str, Callable[[], object]] = {
            "served": partial(observer.expose, accept, ""),
            "served with gzip": partial(observer.expose, accept, "gzip"),
            "prometheus-client's encoder": partial(choose_encoder(accept)[0], registry),
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, work in ways.items():
                taken[way].append(_milliseconds(work))
        body = observer.expose(accept, "")[1]
        print(f"  {name}: {len(body.splitlines())} lines, {len(body) / 1e6:.1f} MB")
        for way, each in taken.items():
            print(f"    {way:<28} {statistics.median(each):6.0f} {min(each):6.0f}")


def _requests(observer: PrometheusObserver) -> None:
    checkout, context = _checkout(_Pool(), "GET /"), ContextRecord("GET /", 0, 0)

    def measure() -> None:
        for _ in range(REQUESTS):
            observer.checkout_ended(checkout)
            observer.context_ended(context)

    taken = [_milliseconds(measure) * 1e3 / REQUESTS for _ in range(ROUNDS)]
    print(f"a request with one transaction, in microseconds: {statistics.median(taken):.1f} {min(taken):.1f}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=200)
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    _requests(observer)
    fill(observer, parser.parse_args().routes)
    _scrapes(observer, registry)


if __name__ == "__main__":
    main()
