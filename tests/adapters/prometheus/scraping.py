"""What a scrape gets, whichever framework serves it."""

import gzip

import aiohttp

from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.adapters.prometheus.records import FakePool, checkout, context_of

_OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def measure(observer: PrometheusObserver) -> None:
    """Let an observer hear of one checkout, of the route GET /."""
    observer.checkout_ended(checkout(FakePool(), context_of("GET /")))


async def check_formats(url: str) -> None:
    """Scrape what ``measure`` has left, as text, as OpenMetrics with gzip, and by HEAD.

    Args:
        url: where the metrics are.

    """
    async with aiohttp.ClientSession(auto_decompress=False) as client:
        async with client.get(url, headers={"Accept-Encoding": "identity"}) as response:
            assert response.status == 200
            assert response.headers.getall("Content-Type") == ["text/plain; version=0.0.4; charset=utf-8"]
            assert b'route="GET /"' in await response.read()
        headers = {"Accept": _OPEN_METRICS, "Accept-Encoding": "gzip"}
        async with client.get(url, headers=headers) as response:
            assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
            assert response.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(await response.read()).endswith(b"# EOF\n")
        async with client.head(url) as response:
            assert response.status == 200
            assert await response.read() == b""
