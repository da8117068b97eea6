"""States as an inspector gives them, to be shown."""

from typing import Any

Json = dict[str, Any]

HOSTILE = "GET /\x1b[31m<img src=x onerror=alert(1)>[bold]\u202e"
"""A name that would steer a terminal, a page, rich's markup and the direction of the text."""


def session(number: int, route: str = "POST /orders", **changes: Any) -> Json:
    """Return a session that holds a connection of the pool ``main`` idle."""
    held = {"pool": "main", "pool_key": "main 1", "backend_pid": 4000 + number, "held": 2.0, "idle": 1.5}
    return {
        "id": number,
        "route": route,
        "kind": "request",
        "age": 2.5,
        "state": "held idle",
        "connections": [held],
        "transactions": 1,
        "statements": 3,
        "idle_share": 0.75,
        "early_releases": 0,
        "awaiting": "shop/payments.py:41 pay",
        "trace_id": None,
        **changes,
    }


def waiting(number: int, route: str = "GET /products") -> Json:
    """Return a session that waits for a connection."""
    return session(number, route, state="waiting", connections=[], idle_share=0.0, awaiting="shop/products.py:7 load")


def pool(**changes: Any) -> Json:
    """Return a pool whose connections are all held by the sessions 1 and 2, while the session 3 waits."""
    return {
        "key": "main 1",
        "name": "main",
        "server": "db:5432/shop",
        "used": 2,
        "idle": 0,
        "waiting": 1,
        "peak_used": 2,
        "peak_waiting": 4,
        "size": 2,
        "max_overflow": 0,
        "timeout": 30.0,
        "max_wait": None,
        "max_waiting": None,
        "history": [[1, 0], [2, 1]],
        "waiters": [{"session": 3, "route": "GET /products", "waited": 3.21}],
        "holders": [1, 2],
        "advice": {"average": 1.5, "peak": 2, "given_back": 0.0, "text": "The size is right."},
        **changes,
    }


def worker(pools: list[Json], sessions: list[Json], **changes: Any) -> Json:
    """Return a worker."""
    route = {"route": "POST /orders", "sessions": 2, "held": 4.0, "held_idle": 3.0, "early_releases": 0}
    return {
        "pid": 7,
        "name": "worker 1",
        "started_at": 0.0,
        "error": None,
        "pools": pools,
        "sessions": {"total": len(sessions), "by_state": {"held idle": len(sessions)}, "shown": sessions},
        "finished": {"kept": 100, "shown": []},
        "routes": [{**route, "text": "Commit before the payment"}],
        "blocked": None,
        **changes,
    }
