"""Runs the same overload three times and prints a table: ``make overload``."""

import argparse
import asyncio
from dataclasses import dataclass
from typing import Any

from context_async_sqlalchemy import DBConnect
from examples.overload.app import serving
from examples.overload.load import Outcome, capacity, open_loop
from tools.local_postgres import database_server


@dataclass(frozen=True)
class Scale:
    """How large the runs are; seconds, where not said otherwise."""

    connections: int = 2
    work: float = 0.05
    max_wait: float = 0.2
    patience: float = 1.0
    warm_up: float = 4.0
    measured: float = 6.0
    calibration: float = 2.0


def limits(scale: Scale) -> dict[str, dict[str, Any]]:
    """Return the options of each run, by the name of its row in the table."""
    return {
        "no limit": {},
        f"max_wait={scale.max_wait:g}": {"max_wait": scale.max_wait},
        'max_wait="adaptive"': {"max_wait": "adaptive"},
    }


async def measured_capacity(url: str, scale: Scale) -> float:
    """Return how many requests a second are served while as many clients send them as there are connections."""
    async with serving(_connect(url, scale), scale.work) as address:
        await capacity(address, scale.connections, 0.2)  # The connections are opened.
        return await capacity(address, scale.connections, scale.calibration)


async def outcome(url: str, scale: Scale, rate: float, options: dict[str, Any]) -> Outcome:
    """Return what becomes of requests that come at a fixed rate, with these options of the ``DBConnect``."""
    async with serving(_connect(url, scale, **options), scale.work) as address:
        return await open_loop(address, rate, scale.warm_up, scale.measured, scale.patience)


def _connect(url: str, scale: Scale, **options: Any) -> DBConnect:
    return DBConnect.from_url(url, name="main", pool_size=scale.connections, max_overflow=0, **options)


async def _run(url: str, scale: Scale) -> tuple[float, dict[str, Outcome]]:
    served_per_second = await measured_capacity(url, scale)
    # One after the other, because they would take the machine from each other.
    outcomes = {
        name: await outcome(url, scale, 2 * served_per_second, options) for name, options in limits(scale).items()
    }
    return served_per_second, outcomes


def table(served_per_second: float, outcomes: dict[str, Outcome]) -> str:
    """Return the outcomes as text, a line for each."""
    lines = [f"{'':22}{'served/s':>10}{'goodput':>9}{'p50':>9}{'p99':>9}{'503':>7}{'gave up':>9}"]
    for name, outcome in outcomes.items():
        p50, p99 = (_milliseconds(outcome.percentile(share)) for share in (0.5, 0.99))
        goodput = outcome.served_per_second / served_per_second
        lines.append(
            f"{name:22}{outcome.served_per_second:>10.1f}{goodput:>9.0%}{p50:>9}{p99:>9}{outcome.shed:>7}"
            f"{outcome.given_up:>9}"
        )
    return "\n".join(lines)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def main() -> None:
    """Run everything at the default scale."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    scale = Scale()
    print(f"A pool of {scale.connections} connections, and {scale.work * 1000:g} ms of work for each request.")
    print(f"Each run is measured for {scale.measured:g} s, after {scale.warm_up:g} s of the same load.")
    print(f"A client gives up after {scale.patience:g} s.", flush=True)
    with database_server() as url:
        served_per_second, outcomes = asyncio.run(_run(url, scale))
    print(f"Capacity: {served_per_second:.0f} requests a second. Load: {2 * served_per_second:.0f}.\n")
    print(table(served_per_second, outcomes))


if __name__ == "__main__":
    main()
