"""Slow and failing requests of the shop as Jaeger gets them: the whole trace, by a real exporter, over OTLP/HTTP."""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import ClientSession
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from sanic import Sanic

from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver
from examples.shop import aiohttp_app, sanic_app
from examples.shop.database import POOL_SIZE, open_database
from examples.shop.domain import Shop
from examples.shop.pool import CountingPool, pool_of
from tests.docs.examples.support import GatedPayments, basket
from tests.support.waiting import until

from .otlp import Receiver, Trace, receiving

SHOWN = (
    "http.response.status_code",
    "db.session.outcome",
    "db.session.statements",
    "db.session.acquire_path",
    "db.session.released_by",
    "db.transaction.outcome",
    "db.transaction.statements",
    "error.type",
)


WAITED_AND_GAVE_BACK = """\
POST /orders-early  SERVER  http.response.status_code=201
  db.session main  INTERNAL  db.session.outcome=commit  db.session.statements=5
    * released_early  db.session.released_by=commit
    db.connection.acquire main  CLIENT  db.session.acquire_path=queued
    db.transaction main  INTERNAL  db.transaction.outcome=commit  db.transaction.statements=4
    db.transaction main  INTERNAL  db.transaction.outcome=commit  db.transaction.statements=1"""

# 23503: the foreign key, which is deferred, so that the server notices at COMMIT.
FAILED = """\
POST /orders-impossible  SERVER ERROR  http.response.status_code=500
  db.session main  INTERNAL ERROR  db.session.outcome=failed  db.session.statements=3  error.type=23503
    db.transaction main  INTERNAL ERROR  db.transaction.outcome=rollback  db.transaction.statements=3  error.type=23503
      * exception"""


@dataclass(frozen=True)
class _OpenShop:
    """The shop, one who buys there, and the traces that have arrived when it has closed."""

    payments: GatedPayments
    pool: CountingPool
    client: ClientSession
    receiver: Receiver

    async def order(self, path: str, product_id: int = 1, customer_id: int = 1) -> int:
        async with self.client.post(path, json=basket((product_id, 1), customer_id=customer_id)) as response:
            return response.status


OpenShop = Callable[[], AbstractAsyncContextManager[_OpenShop]]


@pytest.fixture(params=["aiohttp", "sanic"])
def open_shop(database_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OpenShop:
    """Have the shop open on each framework, with traces."""
    # Sanic rewrites its own methods at start, and cannot do so twice in one process; nor use a name twice.
    monkeypatch.setenv("SANIC_TOUCHUP", "false")
    monkeypatch.setattr(Sanic, "test_mode", True)
    serving = {"aiohttp": aiohttp_app.serving, "sanic": sanic_app.serving}[request.param]
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}), shutdown_on_exit=False)
    # set_tracer_provider works once in a process.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    @asynccontextmanager
    async def opened() -> AsyncGenerator[_OpenShop]:
        async with receiving() as (receiver, endpoint), open_database(database_url) as connection:
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
            payments = GatedPayments(connection)
            try:
                with socket.create_server(("127.0.0.1", 0)) as listener:
                    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                    observers = [OpenTelemetryObserver(provider)]
                    async with serving(Shop(connection, payments), listener, observers), ClientSession(url) as client:
                        yield _OpenShop(payments, pool_of(connection), client, receiver)
            finally:
                # The exporter waits for the answer, which comes from this event loop.
                await asyncio.to_thread(provider.shutdown)

    return opened


async def test_a_request_that_waited_for_a_connection_and_gave_it_back_before_the_payment(open_shop: OpenShop) -> None:
    async with open_shop() as shop, asyncio.TaskGroup() as others:
        shop.payments.gate.clear()
        for number in range(POOL_SIZE):
            # Of one product they would wait for each other.
            others.create_task(shop.order("/orders-late", product_id=2 + number))
        await until(lambda: len(shop.payments.in_use) == POOL_SIZE, "the others hold all connections")
        slow = others.create_task(shop.order("/orders-early"))
        await until(lambda: shop.pool.waiting == 1, "the request waits for a connection")
        seen_waiting = time.time_ns()
        shop.payments.gate.set()
        assert await slow == 201

    request = shop.receiver.trace("POST /orders-early")
    assert request.tree(SHOWN) == WAITED_AND_GAVE_BACK
    acquire, first, second = request.below(request.one("db.session main"))
    assert acquire.begin < seen_waiting < acquire.end
    (released,) = request.one("db.session main").span.events
    assert first.end <= released.time_unix_nano <= second.begin
    _check_that_times_are_within_each_other(request)
    assert {received.service for received in request.spans} == {"shop"}


async def test_a_request_whose_commit_failed(open_shop: OpenShop) -> None:
    async with open_shop() as shop:
        assert await shop.order("/orders-impossible", customer_id=999) == 500

    request = shop.receiver.trace("POST /orders-impossible")
    assert request.tree(SHOWN) == FAILED
    _check_that_times_are_within_each_other(request)


def _check_that_times_are_within_each_other(trace: Trace) -> None:
    """Check that children lie within their parents, and siblings one after the other."""
    for parent in trace.spans:
        instants = [parent.begin]
        for child in trace.below(parent):
            instants += [child.begin, child.end]
        instants.append(parent.end)
        assert instants == sorted(instants), parent.span.name
