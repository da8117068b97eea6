"""The first lines of the page and of the terminal: how each pool is, and which route holds its connections."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .durations import written

Json = Mapping[str, Any]
Level = Literal["waiting", "full", "calm"]


def summarize(worker: Json) -> list[dict[str, str]]:
    """Return the summary of each pool of a worker, in the order of its pools.

    Args:
        worker: an item of ``workers`` in ``state.json``.

    Returns:
        ``pool``: the name of the pool. ``level``: "waiting" (sessions wait), "full" (all are in use) or "calm".
        ``text``: how many are in use and wait. ``holder``: the route that holds the most idle time of a pool that is
        not calm, with the line that it awaits, or an empty string.

    """
    sessions = {session["id"]: session for session in worker["sessions"]["shown"]}
    return [_summarize(pool, sessions) for pool in worker["pools"]]


def limit_of(pool: Json) -> int | None:
    """Return how many connections a pool may have, or None if it has no limit."""
    if pool["size"] is None or pool["max_overflow"] is None:
        return None
    return int(pool["size"] + pool["max_overflow"]) or None


def _summarize(pool: Json, sessions: Mapping[int, Json]) -> dict[str, str]:
    limit, used = limit_of(pool), pool["used"]
    level: Level = "waiting" if pool["waiting"] else "full" if limit is not None and used >= limit else "calm"
    holder = "" if level == "calm" else _holder(pool, sessions)
    return {"pool": pool["name"], "level": level, "text": _use(pool, limit), "holder": holder}


def _use(pool: Json, limit: int | None) -> str:
    of_limit = "" if limit is None else f" of {limit}"
    text = f"pool {pool['name']}: {pool['used']}{of_limit} in use"
    if not pool["waiting"]:
        return text
    longest = max((waiter["waited"] for waiter in pool["waiters"]), default=None)
    return f"{text}, {pool['waiting']} waiting" + ("" if longest is None else f" up to {written(longest)}")


@dataclass
class _Route:
    connections: int = 0
    held: float = 0.0
    idle: float = 0.0
    lines: Counter[str] = field(default_factory=Counter[str])


def _holder(pool: Json, sessions: Mapping[int, Json]) -> str:
    routes: dict[str, _Route] = {}
    for number in pool["holders"]:
        if (session := sessions.get(number)) is None:
            continue
        route = routes.setdefault(session["route"], _Route())
        for connection in session["connections"]:
            if connection["pool_key"] == pool["key"]:
                route.connections += 1
                route.held += connection["held"]
                route.idle += connection["idle"]
        if session["awaiting"]:
            route.lines[session["awaiting"]] += 1
    if not routes:
        return ""
    # Idle time first, because an early release frees nothing but that.
    name, route = max(routes.items(), key=lambda item: (item[1].idle, item[1].held))
    share = f", {route.idle / route.held:.0%} idle".replace("%", " %") if route.held else ""
    # The lists of the state are bounded, so a large pool has more holders than they have.
    at_least = "at least " if len(pool["holders"]) < pool["used"] else ""
    place = f", at {route.lines.most_common(1)[0][0]}" if route.lines else ""
    return f"{name} holds {at_least}{route.connections} of them{share}{place}"
