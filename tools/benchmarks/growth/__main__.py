"""How cost grows: of a request, a scrape and a look, with routes, open contexts, databases, workers and observers.

python -m tools.benchmarks.growth [--axes routes contexts]
"""

import argparse
import asyncio
import resource
import sys

from tools.benchmarks.growth.axes import AXES
from tools.benchmarks.growth.left_over import leaves_nothing
from tools.local_postgres import database_server

_LEFT_OVER = "left-over"


def _allow_open_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _measure(url: str, axes: list[str], rounds: int, requests: int) -> bool:
    is_as_expected = True
    for axis in axes:
        if axis == _LEFT_OVER:
            is_as_expected &= await leaves_nothing(url, requests)
            continue
        for figures in await AXES[axis](url, rounds):
            print(figures.row(), flush=True)
            is_as_expected &= figures.is_as_expected
    return is_as_expected


def main() -> None:
    """Measure, print, and exit with status 1 if a cost grows more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    every = [*AXES, _LEFT_OVER]
    parser.add_argument("--axes", nargs="+", choices=every, default=every)
    parser.add_argument("--rounds", type=int, default=15, help="blocks of each size, which take turns")
    parser.add_argument("--requests", type=int, default=100_000, help="after which nothing may be left over")
    arguments = parser.parse_args()
    _allow_open_files()
    with database_server() as url:
        is_as_expected = asyncio.run(_measure(url, arguments.axes, arguments.rounds, arguments.requests))
    sys.exit(0 if is_as_expected else 1)


if __name__ == "__main__":
    main()
