"""Whatever a client sends, labels stay few and short, and a line of the log stays a line, on every framework."""

import asyncio
import contextlib
import logging
import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.conformance.driver import Exchange, Reply
from tests.conformance.service import Client, Service
from tests.conformance.statements import write
from tests.support.recorder import Recorder

MARK = "sent-by-the-client"
_PATHS = [
    *(
        f"/items/{MARK}{sent}"
        for sent in ("", "%0d%0aSet-Cookie:%20a=b", "%1b%5b31m", "%e2%80%a8", "%c2%85", "%00", "%ff")
    ),
    *(f"/items/{MARK}?{sent}" for sent in ("a=%0a", "a=" + "b" * 4000)),
    f"/items/{MARK}{'a' * 4000}",
    f"/items/{MARK}/more/{MARK}",
    f"//{MARK}",
    f"/{MARK}/..%2f",
    f"http://{MARK}/items/1",
    "*",
]
_METHODS = ["GET", "get", "BREW", "X" * 200, "HEAD", "OPTIONS"]
_HEADERS = [f"X-Forwarded-For: {MARK}\x1b[31m", f"traceparent: {MARK}", f"Cookie: a={MARK}", "Expect: 100-continue"]


def _request(method: str, path: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {MARK}", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def _send(client: Client, data: bytes, *, stays: bool = True) -> None:
    """Send bytes on a connection of their own, and read what comes; a server may close it at once."""
    async with client.raw() as raw:
        with contextlib.suppress(OSError, TimeoutError):
            raw.send(data)
            if stays:
                await asyncio.wait_for(raw.reader.read(1), 1)
            else:
                raw.hang_up()


async def test_a_client_makes_no_labels_and_no_lines(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    recorder, registry = Recorder(), CollectorRegistry()

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "held for longer than the threshold")
        # The warning names the route.
        await asyncio.sleep(0.03)
        return Reply()

    sent = [
        *(_request("GET", path) for path in _PATHS),
        *(_request(method, "/items/1") for method in _METHODS),
        *(_request("GET", "/items/1", header) for header in _HEADERS),
        # Pipelined.
        _request("GET", "/items/1") + _request("BREW", f"/items/{MARK}%0a"),
        f"GET /items/{MARK}\r\n\r\n".encode(),
        b"\x16\x03\x01" + MARK.encode(),
    ]
    with caplog.at_level(logging.DEBUG, logger="context_async_sqlalchemy"):
        async with service.running(
            handler,
            others={"/items/{id}": handler},
            observers=[recorder, PrometheusObserver(registry)],
            leak_threshold=0.01,
        ) as client:
            for data in sent:
                await _send(client, data)
            await _send(client, _request("GET", f"/items/{MARK}"), stays=False)
            assert (await client.get("/items/1"))[0] == 200
        metrics = generate_latest(registry).decode()

    routes = {checkout.route for checkout in recorder.checkouts}
    # At most the three templates, each with the methods that HTTP knows and one for the rest.
    assert len(routes) <= 3 * 4, routes
    assert max(map(len, routes)) < 100
    messages = [record.getMessage() for record in caplog.records if record.name == "context_async_sqlalchemy"]
    assert any("a leak is suspected" in message for message in messages)
    for text in (*routes, *messages):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", text), text
        assert MARK not in text, text
    assert MARK not in metrics
