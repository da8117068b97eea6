"""The first row: whether the pool is hurting now."""

from grafana.builder.dashboard import Row
from grafana.builder.overview.queries import (
    BLOCKED_LOOP,
    PENDING,
    POOL_LEGEND,
    TIMEOUTS,
    UNLIMITED,
    WAIT,
    events_in_range,
    share_held_idle,
    utilisation,
)
from grafana.builder.panel import Panel, Query
from grafana.builder.promql import POOL, of_pool, quantile, total

NOW = Row(
    "Is the pool hurting now?",
    (
        Panel(
            "Utilisation",
            "Connections in use, of the most that the pool may have; of several processes or workers the fullest. "
            f"Healthy is below 80 %: at 100 % the next request waits. {UNLIMITED}",
            "percentunit",
            (Query(utilisation(), POOL_LEGEND),),
            kind="stat",
            width=5,
            warning=0.8,
            critical=0.95,
        ),
        Panel(
            "Waiting requests",
            "Requests that wait for a connection at this moment. Healthy is 0; a few that come and go are a burst, a "
            "number that stays is a pool that is too small or held for too long.",
            "short",
            (Query(total(of_pool(PENDING), POOL), POOL_LEGEND),),
            kind="stat",
            width=5,
            warning=1,
            critical=10,
        ),
        Panel(
            "Wait, p99",
            "The time that 99 % of the checkouts stay below; waits that timed out or were cancelled are in it. "
            "Healthy is below 10 ms; with 100 ms and more, users feel the pool.",
            "s",
            (Query(quantile(0.99, of_pool(f"{WAIT}_bucket"), POOL), POOL_LEGEND),),
            kind="stat",
            width=5,
            warning=0.1,
            critical=0.5,
        ),
        Panel(
            "Time-outs",
            "Requests that got no connection within pool_timeout, in the time shown: each of them failed. Healthy is "
            "0.",
            "short",
            (Query(events_in_range(of_pool(TIMEOUTS), POOL), POOL_LEGEND),),
            kind="stat",
            width=5,
            critical=1,
        ),
        Panel(
            "Held idle",
            "Of the time that connections are out of the pool, the share in which the database had nothing to do for "
            "them. Healthy is below 30 %. The next row shows which route it is; the remedy is commit_db_session "
            f"before the handler awaits somebody else. {BLOCKED_LOOP}",
            "percentunit",
            (Query(share_held_idle(POOL), POOL_LEGEND),),
            kind="stat",
            width=4,
            warning=0.3,
            critical=0.5,
        ),
    ),
)
