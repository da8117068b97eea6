"""The state of this process, as ``state.json`` has it."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from heapq import nlargest
from time import perf_counter_ns
from typing import Any, NamedTuple

from context_async_sqlalchemy.observer import NO_ROUTE, LiveCheckout, LiveWait

from .advice import for_route
from .buckets import PoolSum, RouteSum
from .collector import Collector
from .lines import awaited_line
from .pids import backend_pid
from .session import OpenSession
from .summary import summarize

Json = dict[str, Any]
VERSION = 1

MOST_SESSIONS = 200
MOST_OF_POOL = 50
MOST_ROUTES = 50

_NANOSECOND = 1e-9


class _Seen(NamedTuple):
    """An open session at the instant of a look."""

    session: OpenSession
    state: str
    holds: list[LiveCheckout]
    wait: LiveWait | None
    held: int
    waited: int
    age: int

    @property
    def rank(self) -> tuple[int, int, int]:
        """The longest held first, then the longest waiting, then the oldest."""
        return self.held, self.waited, self.age


_STARTED_AT = time.time()


def worker_state(collector: Collector, blocked: list[Json] | None) -> Json:
    """Return the state of this process.

    Args:
        collector: what is known of it.
        blocked: the sessions that wait for a lock, as far as they are known, or None.

    """
    now = perf_counter_ns()
    collector.looked(now)
    window = collector.window(now)
    looks = {view: view.pool.look() for view in collector.pools.values()}
    checkouts = [each for look in looks.values() for each in look.checkouts]
    waits = [each for look in looks.values() for each in look.waits]
    seen = _see(collector, checkouts, waits, now)
    shown_sessions = nlargest(MOST_SESSIONS, seen, key=lambda each: each.rank)
    sessions = [_session(collector, each, now) for each in shown_sessions]
    totals = collector.pool_totals(now)
    for view, look in looks.items():
        for each in look.checkouts:
            _add_live(totals[view.key], each, now, round(window / _NANOSECOND))
    worker: Json = {
        "pid": os.getpid(),
        "name": f"process {os.getpid()}",
        "started_at": _STARTED_AT,
        "error": None,
        "pools": [
            {
                **view.state(look, totals[view.key], window),
                "waiters": _waiters(collector, look.waits, now),
                "holders": _holders(collector, look.checkouts),
            }
            for view, look in looks.items()
        ],
        "sessions": {
            "total": len(seen),
            "by_state": dict(Counter(each.state for each in seen)),
            "shown": sessions,
        },
        "finished": collector.finished.state(),
        "collected_for": round(window, 3),
        "routes": _routes(collector, now),
        "blocked": blocked,
    }
    return {**worker, "summary": summarize(worker)}


def _see(collector: Collector, checkouts: Iterable[LiveCheckout], waits: Iterable[LiveWait], now: int) -> list[_Seen]:
    holds_of: defaultdict[OpenSession, list[LiveCheckout]] = defaultdict(list)
    waits_of: dict[OpenSession, LiveWait] = {}
    collector.others.keep_only({*(each.checkout for each in checkouts), *waits})
    for held in checkouts:
        holds_of[collector.session_of(held.checkout)].append(held)
    for wait in waits:
        waits_of[collector.session_of(wait)] = wait
    every = dict.fromkeys(collector.open_sessions())
    every.update(dict.fromkeys(holds_of))
    every.update(dict.fromkeys(waits_of))
    return [_seen(session, holds_of.get(session, []), waits_of.get(session), now) for session in every]


def _seen(session: OpenSession, holds: list[LiveCheckout], wait: LiveWait | None, now: int) -> _Seen:
    held = now - min(each.checkout.taken_at for each in holds) if holds else 0
    waited = now - wait.asked_at if wait is not None else 0
    record = session.record
    age = max(held, waited) if record is None else now - record.began_at
    return _Seen(session, _state(session, holds, wait), holds, wait, held, waited, age)


def _state(session: OpenSession, holds: list[LiveCheckout], wait: LiveWait | None) -> str:
    if wait is not None:
        return "waiting"
    if session.record is not None and session.record.is_ending:
        return "finishing"
    if any(each.is_querying for each in holds):
        return "querying"
    if holds:
        return "held idle"
    # Its first checkout has begun, and has neither ended nor failed, nor does it wait for a return.
    return "open" if session.checkouts or session.failed else "connecting"


def _session(collector: Collector, seen: _Seen, now: int) -> Json:
    session, holds = seen.session, seen.holds
    line = awaited_line(session.task if seen.wait is None else seen.wait.task)
    route = NO_ROUTE if session.record is None else session.record.route
    if seen.state == "held idle" and line is not None:
        collector.seen_idle(route, line, now)
    idle = [each.checkout.idle_for(now) for each in holds]
    held = [(now - each.checkout.taken_at) * _NANOSECOND for each in holds]
    all_held = session.held * _NANOSECOND + sum(held)
    all_idle = session.idle * _NANOSECOND + sum(idle)
    return {
        "id": session.number,
        "route": route,
        "kind": "job" if route == NO_ROUTE else "request",
        "age": round(seen.age * _NANOSECOND, 6),
        "state": seen.state,
        "connections": [
            {
                "pool": each.checkout.pool.name,
                "pool_key": collector.pools[each.checkout.pool].key,
                "backend_pid": backend_pid(each.driver_connection),
                "held": round(held_for, 6),
                "idle": round(min(idle_for, held_for), 6),
            }
            for each, held_for, idle_for in zip(holds, held, idle, strict=True)
        ],
        "transactions": session.transactions + sum(each.transactions for each in holds),
        "statements": session.statements + sum(each.statements for each in holds),
        "idle_share": round(min(all_idle / all_held, 1.0), 4) if all_held else 0.0,
        "early_releases": session.early_releases,
        "awaiting": line,
        "trace_id": session.trace,
    }


def _waiters(collector: Collector, waits: list[LiveWait], now: int) -> list[Json]:
    longest = sorted(waits, key=lambda each: each.asked_at)[:MOST_OF_POOL]
    return [
        {
            "session": collector.session_of(each).number,
            "route": NO_ROUTE if each.context is None else each.context.route,
            "waited": round((now - each.asked_at) * _NANOSECOND, 6),
        }
        for each in longest
    ]


def _holders(collector: Collector, checkouts: list[LiveCheckout]) -> list[int]:
    longest = sorted(checkouts, key=lambda each: each.checkout.taken_at)
    # A session may hold several connections of a pool.
    return list(dict.fromkeys(collector.session_of(each.checkout).number for each in longest))[:MOST_OF_POOL]


def _add_live(total: PoolSum, live: LiveCheckout, now: int, window: int) -> None:
    held = min(now - live.checkout.taken_at, window)
    total.checkouts += 1
    total.held += held
    total.idle += min(round(live.checkout.idle_for(now) / _NANOSECOND), held)


def _routes(collector: Collector, now: int) -> list[Json]:
    totals: Mapping[str, RouteSum] = collector.route_totals(now)
    most = nlargest(MOST_ROUTES, totals.items(), key=lambda item: item[1].idle)
    return [
        {
            "route": route,
            "sessions": total.sessions,
            "held": round(total.held * _NANOSECOND, 6),
            "held_idle": round(total.idle * _NANOSECOND, 6),
            "early_releases": total.early_releases,
            "text": for_route(total),
        }
        for route, total in most
    ]
