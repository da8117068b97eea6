"""The second row: which route waits, which one holds, and which one holds idle."""

from grafana.builder.dashboard import Row
from grafana.builder.overview.queries import (
    BLOCKED_LOOP,
    BY_ROUTE,
    HELD_IDLE,
    POOL_LEGEND,
    ROUTE_LEGEND,
    SAVED,
    SHED,
    TIMEOUTS,
    USE,
    WAIT,
    per_minute,
    share_held_idle,
)
from grafana.builder.panel import Panel, Query
from grafana.builder.promql import POOL, of_pool, of_route, quantile, rate, total

ROUTES = Row(
    "Which route is it?",
    (
        Panel(
            "Who waits: p99",
            "The time that 99 % of a route's checkouts stay below. The route that waits is the victim, seldom the "
            "cause: who holds is on the right. Healthy is below 10 ms. A point is one request: click it for its "
            "trace.",
            "s",
            (Query(quantile(0.99, of_route(f"{WAIT}_bucket"), *BY_ROUTE), ROUTE_LEGEND, exemplars=True),),
            warning=0.1,
        ),
        Panel(
            "Who holds: connections",
            "How many connections a route has out of the pool, on average. Healthy is when all routes together stay "
            f"well below the pool's limit. A long hold counts when it ends. {BLOCKED_LOOP}",
            "short",
            (Query(total(rate(of_route(f"{USE}_sum")), *BY_ROUTE), ROUTE_LEGEND),),
        ),
        Panel(
            "Who holds idle: connections",
            "How many connections a route has out of the pool without using them, on average: what it would give to "
            "others with commit_db_session before it awaits an HTTP call, a lock or a stream's reader. Healthy is "
            "near 0.",
            "short",
            (Query(total(rate(of_route(f"{HELD_IDLE}_sum")), *BY_ROUTE), ROUTE_LEGEND),),
        ),
        Panel(
            "Share held idle",
            "Of the time that a route holds connections, the share in which it does not use them. Healthy is below "
            f"30 %. It matters where the route also holds many (above). {BLOCKED_LOOP}",
            "percentunit",
            (Query(share_held_idle(*BY_ROUTE), ROUTE_LEGEND),),
            warning=0.5,
            maximum=1,
        ),
        Panel(
            "How long it holds: p95",
            "The time that 95 % of a route's connections are back within. Healthy is about the time of its "
            "statements: milliseconds. A point is one request: click it for its trace.",
            "s",
            (Query(quantile(0.95, of_route(f"{USE}_bucket"), *BY_ROUTE), ROUTE_LEGEND, exemplars=True),),
        ),
        Panel(
            "How long it holds idle: p95",
            "The time that 95 % of a route's connections are out and unused below. Healthy is a few milliseconds: "
            "the handler's own work. A point is one request: its trace shows the gaps between the statements.",
            "s",
            (Query(quantile(0.95, of_route(f"{HELD_IDLE}_bucket"), *BY_ROUTE), ROUTE_LEGEND, exemplars=True),),
        ),
        Panel(
            "Early releases",
            "Connections that a route gave back before its request ended, by what gave them back: a commit, rollback "
            "or close in the handler, or a stream's headers. There is no healthy number; a route that holds idle "
            "should be here.",
            "ops",
            (
                Query(
                    total(rate(of_route("db_session_early_releases_total")), *BY_ROUTE, "by"),
                    f"{ROUTE_LEGEND} · {{{{by}}}}",
                ),
            ),
        ),
        Panel(
            "Connections given back",
            "How many connections others could have because of early releases, on average: the pool would need as "
            "many more without them. Higher is better.",
            "short",
            (Query(total(rate(of_route(f"{SAVED}_sum")), *BY_ROUTE), ROUTE_LEGEND),),
        ),
        Panel(
            "Statements per checkout",
            "Statements that a route executes on each connection it takes, on average. Healthy is a handful that "
            "does not grow with the data; tens are one query per row: load with selectinload or joinedload.",
            "short",
            (
                Query(
                    f"{total(rate(of_route('db_session_statements_total')), *BY_ROUTE)} / "
                    f"{total(rate(of_route(f'{USE}_count')), *BY_ROUTE)}",
                    ROUTE_LEGEND,
                ),
            ),
        ),
        Panel(
            "Time-outs, a minute",
            "Requests of a route that got no connection within pool_timeout: each of them failed. Healthy is 0.",
            "cpm",
            (Query(per_minute(of_route(TIMEOUTS), *BY_ROUTE), ROUTE_LEGEND),),
        ),
        Panel(
            "Shed, a minute",
            "Requests of a route that were refused a connection, because they waited for longer than max_wait or too "
            "many waited (max_waiting): each got a 503. Healthy is 0; a few in a burst are what the limits are for.",
            "cpm",
            (Query(per_minute(of_route(SHED), *BY_ROUTE), ROUTE_LEGEND),),
        ),
        Panel(
            "Nested checkouts, a minute",
            "Requests that wait for a second connection of a pool while they hold one: when all that hold wait, "
            "nobody goes on. Healthy is 0. Use the session at hand, or commit_db_session before run_in_new_ctx.",
            "cpm",
            (Query(per_minute(of_route("db_session_nested_checkouts_total"), *BY_ROUTE), ROUTE_LEGEND),),
        ),
        Panel(
            "Cancelled waits, a minute",
            "Waits for a connection that were cancelled: the client had gone, or a time limit of yours was over. "
            "Healthy is 0; many are clients that lose their patience with the pool.",
            "cpm",
            (Query(per_minute(of_pool("db_session_waits_cancelled_total"), POOL), POOL_LEGEND),),
        ),
    ),
)
