"""What scrapes at once cost the rest of a process: name look-ups, which share the threads of the default executor.

python -m tools.benchmarks.scrapes_at_once [--routes 200] [--scrapes 64]
"""

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

from aiohttp import web
from prometheus_client import CollectorRegistry

from context_async_sqlalchemy import setup_db
from context_async_sqlalchemy_prometheus import PrometheusObserver

from .scrape import fill

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
IDLE_LOOK_UPS = 100


class _Counted(PrometheusObserver):
    """An observer that keeps how long each rendering took, in seconds."""

    renderings: list[float]

    def expose(self, accept: str, accept_encoding: str) -> tuple[Sequence[tuple[str, str]], bytes]:
        began = time.perf_counter()
        try:
            return super().expose(accept, accept_encoding)
        finally:
            self.renderings.append(time.perf_counter() - began)


async def _scrape(port: int) -> float:
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    await reader.read()
    writer.close()
    return time.perf_counter() - began


async def _scrape_at_once(port: int, scrapes: int) -> list[float]:
    return await asyncio.gather(*(_scrape(port) for _ in range(scrapes)))


def _client(port: int, scrapes: int, answer: Connection) -> None:
    """Scrape, in a process of its own so that the client's work does not count."""
    answer.send(asyncio.run(_scrape_at_once(port, scrapes)))


async def _look_up() -> float:
    began = time.perf_counter()
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    return time.perf_counter() - began


async def _measure(port: int, scrapes: int, observer: _Counted) -> None:
    idle: list[float] = []
    for _ in range(IDLE_LOOK_UPS):
        idle.append(await _look_up())
        await asyncio.sleep(0.001)
    observer.renderings.clear()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    client = context.Process(target=_client, args=(port, scrapes, theirs))
    client.start()
    meanwhile: list[float] = []
    while not ours.poll():
        meanwhile.append(await _look_up())
        await asyncio.sleep(0.001)
    taken: list[float] = ours.recv()
    client.join()
    rendered = observer.renderings
    print(
        f"{scrapes:3} scrapes at once: {len(rendered)} renderings of at most {max(rendered) * 1e3:.0f} ms, a scrape "
        f"takes at most {max(taken) * 1e3:.0f} ms. A look-up takes at most {max(idle) * 1e3:.1f} ms idle, and "
        f"{max(meanwhile) * 1e3:.1f} ms meanwhile"
    )


async def _run(routes: int, scrapes: int) -> None:
    observer = _Counted(CollectorRegistry())
    observer.renderings = []
    fill(observer, routes)
    app = web.Application()
    setup_db(app, [], observers=[observer])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        for number in (1, scrapes, scrapes):
            await _measure(runner.addresses[0][1], number, observer)
    finally:
        await runner.cleanup()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=200)
    parser.add_argument("--scrapes", type=int, default=64)
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.routes, arguments.scrapes))


if __name__ == "__main__":
    main()
