"""What is shown while the load runs: a live table on a terminal, lines anywhere else."""

import asyncio
import math

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.shop.load import Phase
from examples.shop.pool import CountingPool

_LIVE_SECONDS = 0.25
_LINE_SECONDS = 2.0
_BAR = "█"


async def run_and_show(phase: Phase, url: str, stop: asyncio.Event, console: Console) -> None:
    """Run a phase and show how it goes.

    Args:
        phase: what is run.
        url: of the service.
        stop: ends the phase before its time.
        console: where it is shown; a live table stays there as it was at the end.

    """
    run = asyncio.create_task(phase.run(url, stop))
    try:
        if console.is_terminal and not console.is_dumb_terminal:
            await _show_live(phase, run, console)
        else:
            await _show_lines(phase, run)
    finally:
        # Only if showing has failed the clients are still at work here.
        run.cancel()
    await run


async def _show_live(phase: Phase, run: asyncio.Task[None], console: Console) -> None:
    # No thread of rich's own: it would read the tallies while they are written.
    with Live(console=console, auto_refresh=False) as live:
        while not run.done():
            await asyncio.wait([run], timeout=_LIVE_SECONDS)
            if not run.done():
                phase.note()
            live.update(_screen(phase), refresh=True)


async def _show_lines(phase: Phase, run: asyncio.Task[None]) -> None:
    tally = phase.tally
    while not run.done():
        # The last line is that of the end, not one shortly before it.
        left = phase.seconds - tally.seconds
        await asyncio.wait([run], timeout=_LINE_SECONDS if left > 1.5 * _LINE_SECONDS else None)
        if not run.done():
            phase.note()
        print(
            f"{tally.name}: {tally.seconds:.1f} s, {tally.requests} requests, {tally.per_second:.0f}/s, "
            f"connections in use {phase.pool.checkedout()} of {phase.pool.size()}, "
            f"waiting {phase.pool.waiting} (at most {tally.most_waiting})",
            flush=True,
        )


def milliseconds(value: float) -> str:
    """Write milliseconds for people; a dash if there are none."""
    return "-" if math.isnan(value) else f"{value:.1f}"


def _screen(phase: Phase) -> Group:
    tally = phase.tally
    table = Table(title=f"{tally.name}: {min(tally.seconds, phase.seconds):.0f} of {phase.seconds:.0f} s")
    table.title_justify = "left"
    table.add_column("route", no_wrap=True)
    for heading in ("requests", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    table.add_column("statuses")
    for name, route in tally.routes.items():
        p50, p99 = (milliseconds(route.latencies.milliseconds(percent)) for percent in (50, 99))
        expected, unexpected = str(route.expected), route.requests - route.as_expected
        statuses = Text(", ".join(f"{status} x {count}" for status, count in route.statuses.items()))
        statuses.stylize("red" if unexpected else "green" if expected.startswith("2") else "yellow")
        table.add_row(name, str(route.requests), p50, p99, statuses)
    return Group(table, _pool_line(phase.pool, tally.most_waiting))


def _pool_line(pool: CountingPool, most_waiting: int) -> Text:
    in_use, size = pool.checkedout(), pool.size()
    line = Text(" connections in use ")
    line.append(_BAR * in_use, "red" if in_use == size else "green").append("·" * (size - in_use))
    line.append(f" {in_use} of {size}    waiting for one {pool.waiting:>2} ")
    return line.append(_BAR * pool.waiting, "red").append(f" (at most {most_waiting})")
