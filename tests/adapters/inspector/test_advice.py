"""The sentences that say what to change, and the sums that they are made of."""

import pytest

from context_async_sqlalchemy.observer import OTHER_ROUTE, PoolPeaks
from context_async_sqlalchemy_inspector.advice import Need, for_pool, for_route
from context_async_sqlalchemy_inspector.buckets import BUCKETS, MOST_KEYS, WIDTH, Buckets, PoolSum, RouteSum

_SECOND = 1_000_000_000


def _need(
    held: float, *, idle: float = 0, given_back: float = 0, used: int = 1, pending: int = 0, maximum: int | None = 10
) -> Need:
    total = PoolSum()
    total.checkouts = 1000
    total.held, total.idle, total.given_back = (round(each * _SECOND) for each in (held, idle, given_back))
    return Need(total, 100.0, PoolPeaks(used, pending), maximum)


def test_the_average_is_the_rate_times_the_hold() -> None:
    advice = for_pool(_need(400, given_back=250))
    assert (advice["average"], advice["given_back"], advice["peak"]) == (4, 2.5, 1)
    assert "10 checkouts a second, held for 0.4 s each, use 4 connections on average" in advice["text"]
    assert "Early releases give back 2.5" in advice["text"]
    assert "8 are needed" in advice["text"]


@pytest.mark.parametrize(
    ("need", "said"),
    [
        (_need(900, used=10, pending=7), "At the peak 7 checkouts waited. The pool has 10, so 5 are missing."),
        (_need(100, used=4), "At the peak 4 of 10 were in use, so 6 are too many."),
        (_need(400, idle=300), "3 of these are held idle: release them before slow work."),
    ],
)
def test_what_is_missing_too_much_or_idle_is_said(need: Need, said: str) -> None:
    assert said in for_pool(need)["text"]


def test_nothing_is_said_without_a_checkout_or_a_limit() -> None:
    assert for_pool(Need(PoolSum(), 0.0, PoolPeaks(0, 0), 10))["text"] == "No checkout has been seen yet."
    assert "too many" not in for_pool(_need(100, maximum=None))["text"]


def test_a_route_that_uses_what_it_holds_is_left_alone() -> None:
    total = RouteSum()
    assert for_route(total) == ""
    total.sessions, total.held, total.idle = 10, 10 * _SECOND, 4 * _SECOND
    assert for_route(total) == ""
    total.idle = 9 * _SECOND
    total.seen_at("shop/orders.py:41 pay")
    assert for_route(total) == (
        "Each session holds a connection idle for 0.9 s, 90% of its hold. Give it back before slow work: await "
        "commit_db_session(connection). It is mostly idle at shop/orders.py:41 pay."
    )


def test_the_buckets_forget_what_is_old_and_tell_a_bounded_number_of_routes_apart() -> None:
    buckets = Buckets(RouteSum)
    for number in range(3 * MOST_KEYS):
        buckets.at(0, f"GET /{number}").sessions += 1
    present = dict(buckets.recent(0))
    assert len(present) == MOST_KEYS + 1
    assert present[OTHER_ROUTE].sessions == 2 * MOST_KEYS
    last = (BUCKETS - 1) * WIDTH
    assert sum(each.sessions for _, each in buckets.recent(last)) == 3 * MOST_KEYS
    assert list(buckets.recent(last + WIDTH)) == []
    for number in range(3 * BUCKETS):
        buckets.at(number * WIDTH, "GET /").sessions += 1
    assert sum(each.sessions for _, each in buckets.recent((3 * BUCKETS - 1) * WIDTH)) == BUCKETS
