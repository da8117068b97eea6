"""Server CPU per request: the library against a transaction written by hand, interleaved on one core.

Blocks are short, so that a machine whose speed drifts is as fast in both halves of a pair; on such a machine the
paired figures are the ones to read.

python -m tools.benchmarks.request_cpu
"""

import argparse
import asyncio
import os
import statistics
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tools.benchmarks.client import ServerUnderTest, separate_cores, server_under_test
from tools.local_postgres import database_server


@dataclass(frozen=True)
class Comparison:
    """Two applications that answer the same path."""

    title: str
    path: str
    baseline: str
    candidate: str
    block: int = 1
    """How many times the requests of a block: cheap requests need more of them for a block of the same length."""


COMPARISONS: tuple[Comparison, ...] = (
    Comparison("GET with two SELECTs in one transaction, unobserved", "/two-selects", "by_hand", "unobserved"),
    Comparison("GET with two SELECTs in one transaction, with metrics", "/two-selects", "by_hand", "measured"),
    Comparison("GET that never touches the database", "/nothing", "bare", "measured", block=10),
    # What the framework takes for hooks, whatever they do: the library can only add to it.
    Comparison("The same, but with hooks that do nothing", "/nothing", "bare", "empty_hooks", block=10),
)

TRACING = (
    Comparison("All spans recorded, over the server span alone", "/two-selects", "server_span", "all_spans"),
    Comparison("No trace sampled, over the server span alone", "/two-selects", "unsampled", "all_unsampled"),
)
"""On aiohttp only."""

INSPECTOR = (
    Comparison("An inspector that no visitor looks at, over metrics alone", "/two-selects", "measured", "inspected"),
)
"""On aiohttp only."""

MODULES = {
    "aiohttp": "tools.benchmarks.servers.aiohttp_server",
    "sanic": "tools.benchmarks.servers.sanic_server",
    "starlette": "tools.benchmarks.servers.starlette_server",
}


@asynccontextmanager
async def _servers(
    framework: str, comparison: Comparison, url: str, core: int | None
) -> AsyncGenerator[dict[str, ServerUnderTest]]:
    """Start what serves the two applications, each in a process of its own.

    In one process they would share what CPython learns of the code that both run: from the types that one of them
    uses it specializes SQLAlchemy's functions, which fails for the other's.
    """
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(
                server_under_test(url, core, MODULES[framework], "--application", name)
            )
            for name in (comparison.baseline, comparison.candidate)
        }


async def _measure(
    comparisons: Iterable[Comparison],
    framework: str,
    url: str,
    core: int | None,
    *,
    processes: int,
    rounds: int,
    requests: int,
) -> None:
    for comparison in comparisons:
        block = requests * comparison.block
        samples: dict[str, list[float]] = {comparison.baseline: [], comparison.candidate: []}
        by_process: list[float] = []
        for process in range(processes):
            async with _servers(framework, comparison, url, core) as servers:
                for application, server in servers.items():
                    await server.load(application, comparison.path, block)
                for round_number in range(rounds):
                    order = list(samples)
                    if (round_number + process) % 2:
                        order.reverse()
                    for application in order:
                        samples[application].append(
                            await servers[application].cpu_per_request(application, comparison.path, block)
                        )
            baseline, candidate = (statistics.median(measured[-rounds:]) for measured in samples.values())
            by_process.append(candidate / baseline)
        _report(comparison, samples[comparison.baseline], samples[comparison.candidate], by_process)


def _report(comparison: Comparison, baseline: list[float], candidate: list[float], by_process: list[float]) -> None:
    ratios = [ours / theirs for ours, theirs in zip(candidate, baseline, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"{comparison.title} ({len(ratios)} pairs of blocks in {len(by_process)} pairs of processes)")
    print("                   median   lower quartile")
    for name, samples in ((comparison.baseline, baseline), (comparison.candidate, candidate)):
        print(f"  {name:14} {statistics.median(samples):7.1f} us   {_quiet(samples):7.1f} us")
    ratio = statistics.median(candidate) / statistics.median(baseline)
    print(f"  ratio          {ratio:7.3f}      {_quiet(candidate) / _quiet(baseline):7.3f}")
    print(f"  paired ratios  {middle:7.3f}      quartiles {low:.3f} to {high:.3f}")
    # Where a process has its objects in memory, and in which order its dicts have their keys, is luck that lasts.
    low, middle, high = statistics.quantiles(by_process, n=4)
    print(f"  by process     {middle:7.3f}      quartiles {low:.3f} to {high:.3f}")
    difference = statistics.median(candidate) - statistics.median(baseline)
    print(f"  difference     {difference:+7.1f} us   {_quiet(candidate) - _quiet(baseline):+7.1f} us", flush=True)


def _quiet(samples: list[float]) -> float:
    """Return the lower quartile: on a shared machine others only ever add to the time."""
    return statistics.quantiles(samples, n=4)[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--framework", choices=sorted(MODULES), default="aiohttp")
    parser.add_argument("--tracing", action="store_true", help="compare what is traced with what is not, on aiohttp")
    parser.add_argument("--inspector", action="store_true", help="compare with an inspector and without, on aiohttp")
    parser.add_argument("--processes", type=int, default=20, help="pairs of server processes, one after another")
    parser.add_argument("--rounds", type=int, default=10, help="pairs of blocks in each pair of processes")
    parser.add_argument("--requests", type=int, default=240, help="requests in a block")
    arguments = parser.parse_args()
    framework, comparisons = arguments.framework, COMPARISONS
    if arguments.tracing:
        framework, comparisons = "aiohttp", TRACING
    if arguments.inspector:
        framework, comparisons = "aiohttp", INSPECTOR
    cores = separate_cores()
    if cores is not None:
        # Before the database is started: its processes must not run on the server's core either.
        os.sched_setaffinity(0, cores[1])
    with database_server() as url:
        asyncio.run(
            _measure(
                comparisons,
                framework,
                url,
                cores[0] if cores is not None else None,
                processes=arguments.processes,
                rounds=arguments.rounds,
                requests=arguments.requests,
            )
        )


if __name__ == "__main__":
    main()
