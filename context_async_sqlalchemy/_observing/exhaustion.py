"""The note that the time-out of an exhausted pool gets: the holders of its connections, and the remedy."""

from collections import defaultdict
from collections.abc import Iterable
from time import perf_counter_ns

from context_async_sqlalchemy.observer import ObservedPool

from .open_checkout import OpenCheckout

_NAMED = 3


def exhaustion_note(pool: ObservedPool, open_checkouts: Iterable[OpenCheckout], waited: float, limits: str) -> str:
    """Return the note for an exception: the exhausted pool, and the routes that hold its connections.

    Args:
        pool: the exhausted pool.
        open_checkouts: the checkouts of all its connections.
        waited: seconds that the failed checkout has waited.
        limits: the size of the pool, as text.

    """
    reading = pool.read()
    now = perf_counter_ns()
    by_route: defaultdict[str, list[OpenCheckout]] = defaultdict(list)
    for checkout in open_checkouts:
        by_route[checkout.route].append(checkout)
    most = sorted(by_route.values(), key=lambda held: sum(each.held_for(now) for each in held), reverse=True)
    holders = "; ".join(_holder(held, now) for held in most[:_NAMED]) or "nobody that is known here"
    return (
        f"pool {pool.name!r} is exhausted: waited {waited:.2f} s; {limits}, in use {reading.used}, pending "
        f"{reading.pending}. Held most by: {holders}. Give connections back before slow work "
        "(await commit_db_session(connection)), or allow more (pool_size=, max_overflow=)"
    )


def _holder(held: list[OpenCheckout], now: int) -> str:
    longest = max(each.held_for(now) for each in held)
    total = sum(each.held_for(now) for each in held)
    idle = sum(each.idle_for(now) for each in held) / total if total else 0.0
    return f"{held[0].route}: {len(held)} for up to {longest:.2f} s, {idle:.0%} of it idle"
