"""What is printed at the end: the two phases side by side, in plain text."""

import textwrap

from examples.shop.load import CLIENTS, INNOCENT, PAY_EARLY, PAY_LATE
from examples.shop.observations import Observations
from examples.shop.pool import CountingPool
from examples.shop.report import milliseconds
from examples.shop.tally import PhaseTally, RouteTally

_WIDTH = 79


def summarize(late: PhaseTally, early: PhaseTally, pool: CountingPool) -> str:
    """Compare the phases.

    Args:
        late: the connection was held during the payment.
        early: it was given back before.
        pool: what both shared.

    """
    innocent = (late.routes[INNOCENT], early.routes[INNOCENT])
    paying = (late.routes[PAY_LATE], early.routes[PAY_EARLY])
    rows = [
        ("", "held while paying", "given back first"),
        ("orders are paid by", PAY_LATE, PAY_EARLY),
        ("seconds", f"{late.seconds:.1f}", f"{early.seconds:.1f}"),
        ("requests per second", f"{late.per_second:.0f}", f"{early.per_second:.0f}"),
        *_latencies(INNOCENT, innocent),
        *_latencies("an order with payment", paying),
        ("most waiting at once", str(late.most_waiting), str(early.most_waiting)),
        ("checkouts that had to wait", str(late.had_to_wait), str(early.had_to_wait)),
    ]
    table = "\n".join(f"  {name:<28}{one:>20}{other:>20}" for name, one, other in rows)
    (p50_late, p50_early), (p99_late, p99_early) = (
        [milliseconds(route.latencies.milliseconds(percent)) for route in innocent] for percent in (50, 99)
    )
    setting = (
        f"{CLIENTS} clients sent the same mix of requests in both phases; {pool.size()} database connections served "
        "them. The payment provider takes about 60 ms. In the first phase an order kept its connection meanwhile; in "
        "the second one commit_db_session gave it back before. The pool is small on purpose: the first phase runs it "
        "dry. With connections to spare the difference is in the 99th percentile only, until the provider gets slower."
    )
    latency = (
        f"{INNOCENT} has nothing to do with payments: its median was {p50_late} ms in the first phase and "
        f"{p50_early} ms in the second one, its 99th percentile {p99_late} ms and {p99_early} ms."
    )
    throughput = (
        f"Up to {late.most_waiting} requests at once waited for a connection in the first phase, up to "
        f"{early.most_waiting} in the second one. The service answered {late.per_second:.0f} requests per second in "
        f"the first phase and {early.per_second:.0f} in the second one."
    )
    prose = "\n".join(textwrap.fill(sentence, _WIDTH) for sentence in (setting, latency, throughput))
    return f"\nWhat an early release changed\n\n{table}\n\n{prose}"


def summarize_routes(observations: Observations) -> str:
    """Tell what each route has waited for, held, and given back; and what to do about it.

    Args:
        observations: of both phases.

    """
    width = max(map(len, observations.routes), default=0) + 2
    header = f"  {'':<{width}}{'wait p50':>9}{'p99 ms':>8}{'held ms':>9}{'idle':>6}{'early releases':>16}{'saved s':>9}"
    rows = [
        f"  {name:<{width}}"
        f"{milliseconds(route.waits.milliseconds(50)):>9}{milliseconds(route.waits.milliseconds(99)):>8}"
        f"{route.mean_hold_seconds * 1000:>9.1f}{route.idle_share:>6.0%}{route.early_releases:>16}"
        f"{route.saved_seconds:>9.1f}"
        for name, route in sorted(observations.routes.items())
    ]
    advice = [textwrap.fill(sentence, _WIDTH) for sentence in observations.advice()]
    return "\n".join(["\nWhat the routes did with their connections, in both phases\n", header, *rows, "", *advice])


def _latencies(name: str, routes: tuple[RouteTally, RouteTally]) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for percent in (50, 99):
        late, early = (milliseconds(route.latencies.milliseconds(percent)) for route in routes)
        rows.append((f"{name} p{percent} ms", late, early))
    return rows
