"""What may grow in an application, and what each of it costs: a function for each axis."""

import os
import statistics
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count, islice
from pathlib import Path

from tools.benchmarks.client import ServerUnderTest, server_under_test
from tools.benchmarks.growth.figures import Figures
from tools.benchmarks.growth.visitor import cpu_of, in_flight, visit

Axis = Callable[[str, int], Awaitable[list[Figures]]]
"""Takes the database and the number of rounds, and returns what it has measured."""

_MODULE = "tools.benchmarks.growth.server"
_PATH = "/route0/7"
_BLOCK = 200
"""Requests of a block."""

_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

_SCRAPES = 3
"""A scrape of 10,000 routes takes seconds."""

_STRIDE = 7919
"""A prime number, so that requests spread over all routes in an order of no pattern."""


@asynccontextmanager
async def _servers(url: str, option: str, sizes: Iterable[int]) -> AsyncGenerator[dict[int, ServerUnderTest]]:
    """Start a server for each size, so that their blocks can take turns: a busy moment of the machine then hits all."""
    async with AsyncExitStack() as stack:
        yield {
            size: await stack.enter_async_context(server_under_test(url, None, _MODULE, option, str(size)))
            for size in sizes
        }


async def _in_turns(
    servers: dict[int, ServerUnderTest], rounds: int, measure: Callable[[int, ServerUnderTest], Awaitable[float]]
) -> dict[int, float]:
    """Return the median of each server's values."""
    values: dict[int, list[float]] = {size: [] for size in servers}
    for number in range(rounds):
        order = list(servers) if number % 2 else list(reversed(servers))
        for size in order:
            values[size].append(await measure(size, servers[size]))
    return {size: statistics.median(each) for size, each in values.items()}


async def _milliseconds(server: ServerUnderTest, path: str) -> float:
    return int(await server.ask(path)) / 1e6


async def routes(url: str, rounds: int) -> list[Figures]:
    """Measure with 1 to 10,000 routes, each of which has been used, so that it has its series."""
    numbers = count()

    def paths(size: int, requests: int) -> list[str]:
        return [f"/route{number * _STRIDE % size}/7" for number in islice(numbers, requests)]

    async with _servers(url, "--routes", (1, 10, 100, 1_000, 10_000)) as servers:
        for size, server in servers.items():
            await visit(server, (f"/route{number}/7" for number in range(size)))
            await visit(server, paths(size, _BLOCK))
        requests = await _in_turns(servers, rounds, lambda size, server: cpu_of(server, paths(size, _BLOCK)))
        looks = await _in_turns(servers, _SCRAPES, lambda _, server: _milliseconds(server, "/look"))
        scrapes = await _in_turns(servers, _SCRAPES, lambda _, server: _milliseconds(server, "/scrape"))
    return [
        Figures("routes: a request", "µs", "constant", requests),
        Figures("routes: a scrape", "ms", "linear", scrapes),
        Figures("routes: a state of the inspector", "ms", "constant", looks),
    ]


async def contexts(url: str, rounds: int) -> list[Figures]:
    """Measure with 1 to 2,000 requests in flight, each with an open context that has used its session."""
    sizes = (1, 10, 100, 500, 2_000)
    servers: dict[int, ServerUnderTest] = {}
    kibibytes: dict[int, float] = {}
    async with AsyncExitStack() as stack:
        for size in sizes:
            server = servers[size] = await stack.enter_async_context(server_under_test(url, None, _MODULE))
            kibibytes[size] = await _hold(stack, server, "/hold", size)
        requests = await _in_turns(servers, rounds, lambda _, server: cpu_of(server, [_PATH] * _BLOCK))
        looks = await _in_turns(servers, _SCRAPES, lambda _, server: _milliseconds(server, "/look"))
    plain: dict[int, float] = {}
    for size in sizes:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(server_under_test(url, None, _MODULE))
            plain[size] = await _hold(stack, server, "/hold-nothing", size)
    return [
        Figures("open contexts: a request beside them", "µs", "constant", requests),
        Figures("open contexts: a state of the inspector", "ms", "linear", looks),
        Figures("open contexts: memory of all", "KiB", "linear", kibibytes),
        Figures("requests without the database: memory of all", "KiB", "any", plain),
    ]


async def _hold(stack: AsyncExitStack, server: ServerUnderTest, path: str, count: int) -> float:
    """Have requests in flight until the end of a stack, and return the KiB that the server takes for them."""
    await visit(server, [_PATH] * _BLOCK)
    before = int(await server.ask("/memory"))
    await stack.enter_async_context(in_flight(server, path, count))
    return (int(await server.ask("/memory")) - before) / 1024


async def waits(url: str, rounds: int) -> list[Figures]:
    """Measure with 1 to 2,000 jobs that wait for the only connection of a pool."""
    sizes = (1, 10, 100, 500, 2_000)
    async with server_under_test(url, None, _MODULE) as server:
        await visit(server, [_PATH] * _BLOCK)
        by_size = await _in_turns(
            dict.fromkeys(sizes, server),
            max(rounds // 3, 3),
            lambda size, each: _milliseconds(each, f"/waiting-checkouts?at-once={size}"),
        )
    jobs = {size: value * 1e3 for size, value in by_size.items()}
    return [Figures("checkouts that wait: a job that is one of them", "µs", "constant", jobs)]


async def databases(url: str, rounds: int) -> list[Figures]:
    """Measure with 1 to 16 DBConnects."""
    async with _servers(url, "--databases", (1, 2, 4, 8, 16)) as servers:
        one = [f"/route0/{number}" for number in range(_BLOCK)]
        every = ["/every-database"] * (_BLOCK // 8)
        for server in servers.values():
            await visit(server, [*one, *every])
        of_one = await _in_turns(servers, rounds, lambda _, server: cpu_of(server, one))
        of_every = await _in_turns(servers, rounds, lambda _, server: cpu_of(server, every))
    return [
        Figures("databases: a request that uses one of them", "µs", "constant", of_one),
        Figures("databases: a request that uses all", "µs", "linear", of_every),
    ]


async def workers(url: str, rounds: int) -> list[Figures]:
    """Measure with 1 to 8 processes that share the files of their metrics, each with 20 routes."""
    servers: dict[int, ServerUnderTest] = {}
    files: dict[int, float] = {}
    kibibytes: dict[int, float] = {}
    paths = [f"/route{number % 20}/7" for number in range(_BLOCK)]
    async with AsyncExitStack() as stack:
        stack.callback(os.environ.pop, _DIRECTORY, None)
        for size in (1, 2, 4, 8):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            os.environ[_DIRECTORY] = folder
            for _ in range(size):
                # The last one is measured.
                servers[size] = await stack.enter_async_context(server_under_test(url, None, _MODULE, "--routes", "20"))
                await visit(servers[size], paths)
            present = _sizes_of_files(Path(folder))
            files[size], kibibytes[size] = len(present), sum(present) / 1024
        requests = await _in_turns(servers, rounds, lambda _, server: cpu_of(server, paths))
        scrapes = await _in_turns(servers, 2 * _SCRAPES, lambda _, server: _milliseconds(server, "/scrape"))
    return [
        Figures("workers: a request", "µs", "constant", requests),
        Figures("workers: a scrape", "ms", "linear", scrapes),
        Figures("workers: files of the metrics", "files", "linear", files),
        Figures("workers: size of these files", "KiB", "linear", kibibytes),
    ]


def _sizes_of_files(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.glob("*.db")]


async def observers(url: str, rounds: int) -> list[Figures]:
    """Measure with 0 to 3 observers: Prometheus, OpenTelemetry without sampling, the inspector."""
    async with _servers(url, "--observers", (0, 1, 2, 3)) as servers:
        for server in servers.values():
            await visit(server, [_PATH] * _BLOCK)
        requests = await _in_turns(servers, 2 * rounds, lambda _, server: cpu_of(server, [_PATH] * _BLOCK))
    return [Figures("observers: a request", "µs", "constant", requests)]


AXES: dict[str, Axis] = {
    "routes": routes,
    "contexts": contexts,
    "waits": waits,
    "databases": databases,
    "workers": workers,
    "observers": observers,
}
