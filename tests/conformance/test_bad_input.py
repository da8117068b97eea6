"""Whatever a client sends, labels stay few and short, and a line of the log stays a line, on every framework."""

import asyncio
import gc
import logging
import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from context_async_sqlalchemy.adapter_kit import Context
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.conformance.driver import Exchange, Reply
from tests.conformance.service import Service
from tests.conformance.statements import write
from tests.support.hostile import MARK, hostile_requests, send_all
from tests.support.recorder import Recorder


def _contexts_in_memory() -> int:
    gc.collect()
    # A weak proxy of another library fails if it is asked by isinstance.
    return sum(issubclass(type(each), Context) for each in gc.get_objects())


async def test_a_client_makes_no_labels_and_no_lines(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    recorder, registry = Recorder(), CollectorRegistry()
    before = _contexts_in_memory()

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "held for longer than the threshold")
        # The warning names the route.
        await asyncio.sleep(0.03)
        return Reply()

    with caplog.at_level(logging.DEBUG, logger="context_async_sqlalchemy"):
        async with service.running(
            handler,
            others={"/items/{id}": handler},
            observers=[recorder, PrometheusObserver(registry)],
            leak_threshold=0.01,
        ) as client:
            requests = hostile_requests(f"{service.driver.prefix}/items/")
            await send_all(client.port, requests)
            assert (await client.get("/items/1"))[0] == 200
            await service.every_context_has_ended()
        metrics = generate_latest(registry).decode()

    routes = {checkout.route for checkout in recorder.checkouts}
    # At most the three templates, each with the methods that HTTP knows and one for the rest.
    assert len(routes) <= 3 * 4, routes
    assert set(re.findall(r'route="([^"]*)"', metrics)) <= routes
    assert max(map(len, routes)) < 100
    messages = [record.getMessage() for record in caplog.records if record.name == "context_async_sqlalchemy"]
    assert any("a leak is suspected" in message for message in messages)
    for text in (*routes, *messages):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", text), text
        assert MARK not in text, text
    assert MARK not in metrics

    # Lines of the log have tracebacks, and their frames have contexts.
    caplog.clear()
    # A few stay for as long as the application, or in the traceback of an error that a server keeps.
    kept = _contexts_in_memory() - before
    assert kept < len(requests) / 2, kept
