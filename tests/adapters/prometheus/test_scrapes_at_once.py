"""Many scrapes at once: they share one rendering, in a thread that nothing else needs."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from pytest_aiohttp.plugin import AiohttpClient

from context_async_sqlalchemy import setup_db
from context_async_sqlalchemy.adapter_kit import Lifecycle, renderings
from context_async_sqlalchemy.observer import ResourceRequest
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.adapters.prometheus.records import FakePool, checkout, context_of, transaction
from tests.support.waiting import until

SCRAPES = 64
ROUTES = 200


class _Counted(PrometheusObserver):
    """Counts its renderings, which last until the test lets them go on."""

    def __init__(self) -> None:
        super().__init__(CollectorRegistry())
        self.scrapes = self.renderings = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def expose(self, accept: str, accept_encoding: str) -> tuple[Sequence[tuple[str, str]], bytes]:
        self.renderings += 1
        assert self.may_go_on.wait(10)
        return super().expose(accept, accept_encoding)


@pytest.fixture
def observer() -> _Counted:
    return _Counted()


def _measure_routes(observer: PrometheusObserver) -> None:
    pool = FakePool()
    observer.pool_observed(pool)
    for number in range(ROUTES):
        for early_by in (None, "commit"):
            context = context_of(f"GET /resources/{number}/{{id}}")
            observer.checkout_ended(checkout(pool, context, transaction(3), early_by=early_by))


def _app(observer: _Counted) -> web.Application:
    def count(_headers: Mapping[str, str]) -> bool:
        observer.scrapes += 1
        return True

    app = web.Application()
    setup_db(app, [], observers=[observer], metrics_access=count)
    return app


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "context_async_sqlalchemy metrics"]


async def test_scrapes_at_once_share_a_rendering(observer: _Counted, aiohttp_client: AiohttpClient) -> None:
    _measure_routes(observer)
    client = await aiohttp_client(_app(observer))

    async def scrape() -> str:
        return await (await client.get("/metrics")).text()

    observer.may_go_on.clear()
    scrapes = [asyncio.create_task(scrape()) for _ in range(SCRAPES)]
    await until(lambda: observer.scrapes == SCRAPES, "all scrapes have arrived")
    observer.may_go_on.set()
    bodies = set(await asyncio.gather(*scrapes))
    assert len(bodies) <= observer.renderings <= 3
    # A later scrape has what was measured since.
    before = bodies.pop()
    observer.checkout_ended(checkout(FakePool(), context_of("GET /new")))
    assert 'route="GET /new"' not in before
    assert 'route="GET /new"' in await scrape()


async def test_a_name_is_looked_up_meanwhile(observer: _Counted, aiohttp_client: AiohttpClient) -> None:
    _measure_routes(observer)
    client = await aiohttp_client(_app(observer))
    observer.may_go_on.clear()
    scrapes = [asyncio.create_task(client.get("/metrics")) for _ in range(SCRAPES)]
    await until(lambda: observer.scrapes == SCRAPES, "all scrapes have arrived")
    # The renderings wait, so this look-up would wait for ever if they kept the loop's own threads busy.
    async with asyncio.timeout(20):
        await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    observer.may_go_on.set()
    await asyncio.gather(*scrapes)


async def test_the_answers_of_a_rendering_go_one_in_a_turn_of_the_loop(observer: _Counted) -> None:
    (resource,) = Lifecycle([], observers=[observer]).resources("/metrics")
    turns, loop = 0, asyncio.get_running_loop()

    def count_turns() -> None:
        nonlocal turns
        turns += 1
        if not all(scrape.done() for scrape in scrapes):
            loop.call_soon(count_turns)

    async def scrape() -> int:
        answer = await resource.answer(ResourceRequest("/metrics", "", {}))
        assert answer.status == 200
        return turns

    observer.may_go_on.clear()
    scrapes = [asyncio.create_task(scrape()) for _ in range(SCRAPES)]
    await until(lambda: observer.renderings > 0, "a rendering has begun")
    loop.call_soon(count_turns)
    observer.may_go_on.set()
    # Each may be some megabytes. All of them in one turn would stop the loop for a quarter of a second.
    assert len(set(await asyncio.gather(*scrapes))) == SCRAPES


async def test_a_scrape_that_is_given_up_does_not_end_the_others(
    observer: _Counted, aiohttp_client: AiohttpClient
) -> None:
    client = await aiohttp_client(_app(observer))
    observer.may_go_on.clear()
    given_up = asyncio.create_task(client.get("/metrics"))
    await until(lambda: observer.renderings > 0, "a rendering has begun")
    other = asyncio.create_task(client.get("/metrics"))
    given_up.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await given_up
    observer.may_go_on.set()
    assert (await other).status == 200


async def test_headers_that_differ_do_not_pile_renderings_up(observer: _Counted, aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(_app(observer))
    observer.may_go_on.clear()

    async def scrape(number: int) -> int:
        async with client.get("/metrics", headers={"Accept": f"text/plain; q=0.{number}"}) as response:
            if response.status == 503:
                assert response.headers["Retry-After"] == "1"
                assert await response.read() == b""
            return response.status

    scrapes = [asyncio.create_task(scrape(number)) for number in range(20)]
    refused = 20 - renderings.MOST_AT_ONCE
    await until(lambda: sum(scrape.done() for scrape in scrapes) == refused, "the surplus is refused")
    assert len(_threads()) == 1
    observer.may_go_on.set()
    assert sorted(await asyncio.gather(*scrapes)) == [200] * renderings.MOST_AT_ONCE + [503] * refused
    assert observer.renderings == renderings.MOST_AT_ONCE


async def test_a_rendering_that_fails_is_an_error_of_its_scrapes_alone(
    observer: _Counted, monkeypatch: pytest.MonkeyPatch, aiohttp_client: AiohttpClient
) -> None:
    def fail(*_: str) -> None:
        raise RuntimeError("a collector of the application is broken")

    client = await aiohttp_client(_app(observer))
    with monkeypatch.context() as patch:
        patch.setattr(observer, "expose", fail)
        assert (await client.get("/metrics")).status == 500
    assert (await client.get("/metrics")).status == 200


async def test_no_thread_survives_a_scrape(observer: _Counted, aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(_app(observer))
    assert (await client.get("/metrics")).status == 200
    await until(lambda: not _threads(), "the thread has ended")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_process_that_is_forked_during_a_rendering_can_render(observer: _Counted) -> None:
    observer.may_go_on.clear()
    rendering = renderings.RENDERINGS.share(observer, "", "")
    assert rendering is not None
    await until(lambda: observer.renderings > 0, "the rendering has begun")
    child = os.fork()
    if not child:
        observer.may_go_on = threading.Event()
        observer.may_go_on.set()
        own = renderings.RENDERINGS.share(observer, "", "")
        os._exit(0 if own is not None and own.result(5) else 1)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    observer.may_go_on.set()
    await asyncio.wrap_future(rendering)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_process_that_exits_during_a_rendering_ends_without_a_word() -> None:
    program = """
import asyncio, time
from context_async_sqlalchemy.adapter_kit import Lifecycle
from context_async_sqlalchemy.observer import Observer, ResourceRequest

class Slow(Observer):
    def expose(self, accept, accept_encoding):
        time.sleep(0.5)
        return [], b""

async def main():
    (metrics,) = Lifecycle(observers=[Slow()]).resources("/metrics")
    scrape = asyncio.create_task(metrics.answer(ResourceRequest("/metrics", "", {})))
    await asyncio.sleep(0.1)

asyncio.run(main())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
