"""Soak an application: python -m tests.proof.soak FRAMEWORK [SECONDS]."""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from tests.proof.soak.gauges import KINDS, count_objects, resident_bytes
from tests.proof.soak.load import Load, calm
from tests.proof.soak.serving import FRAMEWORKS
from tests.support.connections import connect_to
from tests.support.database import Database
from tools.local_postgres import database_server

BATCH = 200
CONNECTIONS = 20
MOST_OBJECTS = 5.0
"""Objects of a kind that 1,000 requests may add."""
MOST_KIBIBYTES = 1024.0
"""Resident memory that 1,000 requests may add: an interpreter's own fragmentation, and no more."""


MEMORY = "RSS KiB"


class Sample(NamedTuple):
    """What there was after a number of requests."""

    requests: int
    counts: dict[str, int]


async def soak(url: str, framework: str, seconds: float) -> list[str]:
    """Serve, load and look; return what has grown too much."""
    await Database(url).create_schema()
    connection = connect_to(url, pool_size=CONNECTIONS)
    began = time.monotonic()
    samples: list[Sample] = []
    print("  seconds requests   RSS KiB", *(f"{name:>10}" for name in KINDS))
    async with FRAMEWORKS[framework](connection) as port:
        load, idle = Load(port), len(asyncio.all_tasks())
        while (elapsed := time.monotonic() - began) < seconds:
            await load.send(BATCH)
            await calm(idle)
            sample = Sample(load.sent, {**count_objects(), MEMORY: resident_bytes() // 1024})
            counts = sample.counts
            print(f"{elapsed:9.1f} {load.sent:8} {counts[MEMORY]:9}", *(f"{counts[name]:10}" for name in KINDS))
            samples.append(sample)
    grown = growth(samples)
    print("answers:", load.statuses)
    print("growth per 1,000 requests:", {name: round(value, 1) for name, value in grown.items()})
    return [
        f"{name}: {value:.1f} per 1,000 requests"
        for name, value in grown.items()
        if value > (MOST_KIBIBYTES if name == MEMORY else MOST_OBJECTS)
    ]


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """Compare the least of each kind early after the warm-up with the least of it late, for 1,000 requests.

    The least, because a sample may find objects that the loop, or a client that has hung up, lets go a moment later.
    """
    warm = samples[len(samples) // 4 :]
    half = len(warm) // 2
    early, late = warm[:half], warm[half:]
    if not early:
        return {}
    thousands = (late[0].requests - early[0].requests) / 1000
    return {
        name: (min(each.counts[name] for each in late) - min(each.counts[name] for each in early)) / thousands
        for name in late[0].counts
    }


def main() -> int:
    """Soak; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.soak", description=__doc__)
    parser.add_argument("framework", choices=sorted(FRAMEWORKS))
    parser.add_argument("seconds", type=float, nargs="?", default=60.0)
    arguments = parser.parse_args()
    # Failing COMMITs are logged with their tracebacks: thousands of them.
    logging.disable(logging.CRITICAL)
    with database_server() as url:
        violations = asyncio.run(soak(url, arguments.framework, arguments.seconds))
    for violation in violations:
        print("grows:", violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
