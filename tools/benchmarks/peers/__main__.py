"""Server CPU per request by hand, through this library and through its peers: ``make benchmark``.

All servers of a framework run at once, each in a process of its own, on one core. They are loaded in turn, in short
blocks, so that a machine whose speed drifts is as fast for each of them.
"""

import argparse
import asyncio
import os
import platform
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path

from tools.benchmarks.client import separate_cores
from tools.benchmarks.peers import correctness
from tools.benchmarks.peers.contestants import GROUPS, Contestant, Group
from tools.benchmarks.peers.measure import Blocks, measure_set, median_of_all
from tools.benchmarks.peers.results import GroupOfResults, Measured, Result, table
from tools.benchmarks.peers.starting import Place, missing_environments, tools_only
from tools.benchmarks.servers.common import fill
from tools.local_postgres import database_server


async def _measure(groups: dict[str, Group], place: Place, arguments: argparse.Namespace) -> dict[str, Blocks]:
    await fill(place.url)
    for group in groups.values():
        for contestant in group.contestants:
            await correctness.check(contestant, place)
            print(f"checked: {group.title}, {contestant.title}", file=sys.stderr, flush=True)
    blocks: dict[str, Blocks] = {name: {} for name in groups}
    for number in range(arguments.sets):
        for name, group in groups.items():
            await measure_set(
                group, place, blocks[name], rounds=arguments.rounds, requests=arguments.requests, number=number
            )
            print(f"measured: set {number + 1} of {arguments.sets}, {group.title}", file=sys.stderr, flush=True)
    return blocks


def _results(groups: dict[str, Group], blocks: dict[str, Blocks]) -> dict[str, GroupOfResults]:
    results: dict[str, GroupOfResults] = {}
    for name, group in groups.items():
        titles = {contestant.application: contestant.title for contestant in group.contestants}

        def result(contestant: Contestant, sets: list[list[float]], titles: dict[str, str] = titles) -> Result:
            by_set = tuple(round(statistics.median(each), 1) for each in sets)
            over = titles.get(contestant.over or "")
            return Result(contestant.title, round(median_of_all(sets), 1), by_set, over)

        results[name] = GroupOfResults(
            group.title, tuple(result(contestant, sets) for contestant, sets in blocks[name].items())
        )
    return results


def _chosen(frameworks: list[str], only: list[str] | None) -> dict[str, Group]:
    """Return the groups, each with its first contestant and those whose applications were asked for."""
    groups: dict[str, Group] = {}
    for name in frameworks:
        first, *others = GROUPS[name].contestants
        kept = [each for each in others if only is None or each.application in only]
        if kept:
            groups[name] = Group(GROUPS[name].title, (first, *kept))
    return groups


def main() -> int:
    """Measure, print the table, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frameworks", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--only", nargs="+", metavar="APPLICATION", help="applications to compare with those by hand")
    parser.add_argument("--sets", type=int, default=14, help="sets of server processes, one after another")
    parser.add_argument("--rounds", type=int, default=10, help="blocks of each application in a set")
    parser.add_argument("--requests", type=int, default=240, help="requests in a block")
    parser.add_argument("--environments", type=Path, default=Path(".venv-peers"), help="made by make benchmark")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write what was measured into a JSON file")
    arguments = parser.parse_args()
    groups = _chosen(arguments.frameworks, arguments.only)
    contestants = [contestant for group in groups.values() for contestant in group.contestants]
    if missing := missing_environments(arguments.environments, contestants):
        print(f"{arguments.environments} lacks {', '.join(missing)}: make benchmark makes them", file=sys.stderr)
        return 2
    cores = separate_cores()
    if cores is not None:
        # Before the database is started: its processes must not run on the servers' core either.
        os.sched_setaffinity(0, cores[1])
    with database_server() as url, tools_only() as folder:
        place = Place(url, cores[0] if cores is not None else None, arguments.environments.absolute(), folder)
        blocks = asyncio.run(_measure(groups, place, arguments))
    circumstances = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "python": platform.python_version()}
    counts = {name: getattr(arguments, name) for name in ("sets", "rounds", "requests")}
    measured = Measured({**circumstances, **counts}, _results(groups, blocks))
    print(table(list(measured.groups.values())))
    if arguments.write is not None:
        measured.write(arguments.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
