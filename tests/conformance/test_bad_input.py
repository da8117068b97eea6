"""Whatever a client sends, labels stay few and short, and a line of the log stays a line, on every framework."""

import asyncio
import logging
import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.conformance.driver import Exchange, Reply
from tests.conformance.service import Service
from tests.conformance.statements import write
from tests.support.hostile import MARK, hostile_requests, send_all
from tests.support.recorder import Recorder


async def test_a_client_makes_no_labels_and_no_lines(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    recorder, registry = Recorder(), CollectorRegistry()

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
            await send_all(client.port, hostile_requests(f"{service.driver.prefix}/items/"))
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
