"""Server CPU per request: the library against a transaction written by hand, interleaved on one core.

Blocks are short, so that a machine whose speed drifts is as fast in both halves of a pair; on such a machine the
paired figures are the ones to read.

python -m benchmarks.request_cpu
"""

import argparse
import asyncio
import os
import statistics
from dataclasses import dataclass

from benchmarks.client import separate_cores, server_under_test
from local_postgres import database_server


@dataclass(frozen=True)
class Comparison:
    """Two applications that answer the same path."""

    title: str
    path: str
    baseline: str
    candidate: str


COMPARISONS = (
    Comparison("GET with two SELECTs in one transaction", "/two-selects", "by_hand", "by_library"),
    Comparison("GET that never touches the database", "/nothing", "bare", "by_library"),
)


async def _measure(url: str, processes: int, rounds: int, requests: int) -> None:
    cores = separate_cores()
    if cores is not None:
        os.sched_setaffinity(0, cores[1])
    for comparison in COMPARISONS:
        samples: dict[str, list[float]] = {comparison.baseline: [], comparison.candidate: []}
        for process in range(processes):
            async with server_under_test(url, cores and cores[0]) as server:
                for application in samples:
                    await server.load(application, comparison.path, requests)
                for round_number in range(rounds):
                    order = list(samples)
                    if (round_number + process) % 2:
                        order.reverse()
                    for application in order:
                        samples[application].append(
                            await server.cpu_per_request(application, comparison.path, requests)
                        )
        _report(comparison, samples[comparison.baseline], samples[comparison.candidate])


def _report(comparison: Comparison, baseline: list[float], candidate: list[float]) -> None:
    ratios = sorted(ours / theirs for ours, theirs in zip(candidate, baseline, strict=True))
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    first, second = statistics.median(baseline), statistics.median(candidate)
    difference = statistics.median(ours - theirs for ours, theirs in zip(candidate, baseline, strict=True))
    print(comparison.title)
    print(f"  {comparison.baseline:12} {first:8.1f} us per request (median of {len(baseline)} blocks)")
    print(f"  {comparison.candidate:12} {second:8.1f} us per request")
    print(f"  ratio of medians {second / first:.3f}")
    print(f"  paired ratios    {statistics.median(ratios):.3f} (quartiles {low:.3f} to {high:.3f})")
    print(f"  difference       {difference:+.1f} us (median of paired blocks)", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=3, help="server processes, one after another")
    parser.add_argument("--rounds", type=int, default=40, help="pairs of blocks in each process")
    parser.add_argument("--requests", type=int, default=240, help="requests in a block")
    arguments = parser.parse_args()
    with database_server() as url:
        asyncio.run(_measure(url, arguments.processes, arguments.rounds, arguments.requests))


if __name__ == "__main__":
    main()
