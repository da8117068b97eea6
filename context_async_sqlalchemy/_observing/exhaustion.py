"""What the time-out of an exhausted pool says: who holds its connections, and what to do about it."""

from collections import defaultdict
from collections.abc import Iterable
from time import perf_counter_ns

from context_async_sqlalchemy.observer import ObservedPool

from .open_checkout import OpenCheckout

_NAMED = 3


def exhaustion_note(pool: ObservedPool, open_checkouts: Iterable[OpenCheckout], waited: float, limits: str) -> str:
    """Describe an exhausted pool in the words of an exception's note.

    Args:
        pool: the pool.
        open_checkouts: of the connections that are out.
        waited: seconds.
        limits: the pool's size in its own words.

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
