"""The comparison of the two phases, and the routes' use of their connections."""

import math
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from examples.shop.load import INNOCENT, PAY_EARLY, PAY_LATE, RATE
from examples.shop.observations import Observations
from examples.shop.payment import LATENCY
from examples.shop.pool import CountingPool
from examples.shop.report import milliseconds
from examples.shop.tally import PhaseTally, RouteTally

_BARS = "▁▂▃▄▅▆▇█"
_BARS_SHOWN = 20
_MUCH = 1.5


def summarize(late: PhaseTally, early: PhaseTally, pool: CountingPool) -> RenderableType:
    """Compare the phases: a headline, a table, and the setting.

    Args:
        late: the phase in which an order held its connection during the payment.
        early: the phase in which an order released its connection before the payment.
        pool: the pool of both phases.

    """
    innocent = (late.routes[INNOCENT], early.routes[INNOCENT])
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("")
    for heading in ("held while paying", "released first", "change"):
        table.add_column(heading, justify="right")
    table.add_row("orders are paid by", PAY_LATE, PAY_EARLY, "")
    for name, routes in (
        (INNOCENT, innocent),
        ("an order with payment", (late.routes[PAY_LATE], early.routes[PAY_EARLY])),
    ):
        for percent in (50, 99):
            _add_row(table, f"{name} p{percent} ms", *_percentiles(routes, percent))
    _add_row(table, "most requests waiting at once", late.most_waiting, early.most_waiting)
    scale = max((*late.waiting, *early.waiting, 1))
    table.add_row("requests waiting over time", *(Text(_sparkline(each.waiting, scale)) for each in (late, early)), "")
    setting = (
        f"In both phases {RATE} requests a second arrived, answered or not, and {pool.size()} database connections "
        f"served them. A payment takes {LATENCY * 1000:.0f} ms. In the first phase an order held its connection "
        "meanwhile, so the payments alone needed more connections than there are. In the second phase "
        f"commit_db_session released the connection before. {INNOCENT} pays nothing: it only waits behind the orders. "
        "p99 is the time within which 99 of 100 requests were answered."
    )
    return Group("", Text(_headline(late, early), style="bold"), "", table, "", setting)


def _headline(late: PhaseTally, early: PhaseTally) -> str:
    held, released = _percentiles((late.routes[INNOCENT], early.routes[INNOCENT]), 99)
    if held > _MUCH * released:
        return (
            f"Orders that held their connection while they were paid made {INNOCENT} take {milliseconds(held)} ms "
            f"(p99). With an early release it took {milliseconds(released)} ms."
        )
    return (
        f"The load was too short, or the machine too fast, for a difference: {INNOCENT} took {milliseconds(held)} ms "
        f"(p99), and {milliseconds(released)} ms with an early release."
    )


def _percentiles(routes: tuple[RouteTally, RouteTally], percent: int) -> tuple[float, float]:
    late, early = (route.latencies.milliseconds(percent) for route in routes)
    return late, early


def _add_row(table: Table, name: str, late: float, early: float) -> None:
    table.add_row(name, _number(late), _number(early), _change(late, early))


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else milliseconds(value)


def _change(late: float, early: float) -> Text:
    if not late > 0 or not early > 0:
        return Text("")
    if late > _MUCH * early:
        return Text(f"{late / early:.0f} times less" if late > 2 * early else f"-{1 - early / late:.0%}", style="green")
    if early > _MUCH * late:
        return Text(f"+{early / late - 1:.0%}", style="red")
    return Text("the same")


def _sparkline(waiting: list[int], scale: int) -> str:
    """Draw the waiting requests: as many bars for a long phase as for a short one."""
    size = max(1, math.ceil(len(waiting) / _BARS_SHOWN))
    peaks = [max(waiting[start : start + size]) for start in range(0, len(waiting), size)]
    return "".join(_BARS[math.ceil(peak / scale * (len(_BARS) - 1))] for peak in peaks)


def summarize_routes(observations: Observations) -> RenderableType:
    """Tell how long each route waited for connections, how long it held them, and which it released early.

    Args:
        observations: of both phases.

    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("both phases, by route")
    for heading in ("wait p50 ms", "p99 ms", "held ms", "idle", "early releases", "seconds saved"):
        table.add_column(heading, justify="right")
    for name, route in sorted(observations.routes.items()):
        table.add_row(
            name,
            milliseconds(route.waits.milliseconds(50)),
            milliseconds(route.waits.milliseconds(99)),
            f"{route.mean_hold_seconds * 1000:.1f}",
            Text(f"{route.idle_share:.0%}", style="red" if route.is_mostly_idle else ""),
            str(route.early_releases),
            f"{route.saved_seconds:.1f}",
        )
    return Group("", table, *_notes(observations))


def _notes(observations: Observations) -> Iterator[RenderableType]:
    yield (
        "idle: the share of the held time without a statement. seconds saved: how long others could use connections "
        "that their requests had released."
    )
    for advice in observations.advice():
        yield Text(advice, style="bold")
