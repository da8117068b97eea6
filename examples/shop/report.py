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
_LINE_SECONDS = 3.0
_BAR = "█"
_LONGEST_BAR = 60


async def run_and_show(phase: Phase, url: str, stop: asyncio.Event, console: Console) -> None:
    """Run a phase and show how it goes.

    Args:
        phase: what is run.
        url: of the service.
        stop: ends the phase before its time.
        console: where it is shown. A live table is replaced by one line at the end.

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
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not run.done():
            await asyncio.wait([run], timeout=_LIVE_SECONDS)
            if not run.done():
                phase.note()
            live.update(_screen(phase), refresh=True)
    console.print(_line(phase), highlight=False)


async def _show_lines(phase: Phase, run: asyncio.Task[None]) -> None:
    while not run.done():
        await asyncio.wait([run], timeout=_LINE_SECONDS)
        if not run.done():
            phase.note()
        print(_line(phase), flush=True)


def _line(phase: Phase) -> str:
    tally = phase.tally
    return (
        f"{tally.name}: {tally.seconds:.1f} s, {tally.requests} answers, "
        f"connections in use {phase.pool.checkedout()} of {phase.pool.size()}, "
        f"waiting {phase.pool.waiting} (at most {tally.most_waiting})"
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
    explained = Text(
        " 500 is right for /orders-impossible: there is no such customer, so PostgreSQL refuses the COMMIT."
    )
    return Group(table, explained, _pool_line(phase.pool, tally.most_waiting))


def _pool_line(pool: CountingPool, most_waiting: int) -> Text:
    in_use, size = pool.checkedout(), pool.size()
    line = Text(" connections in use ")
    line.append(_BAR * in_use, "red" if in_use == size else "green").append("·" * (size - in_use))
    line.append(f" {in_use} of {size}    waiting for one {pool.waiting:>2} ")
    return line.append(_BAR * min(pool.waiting, _LONGEST_BAR), "red").append(f" (at most {most_waiting})")
