"""The last row: what the pool does."""

from grafana.builder.dashboard import Row
from grafana.builder.overview.queries import (
    COUNT,
    CREATE,
    MAX,
    PENDING,
    PENDING_PEAK,
    POOL_LEGEND,
    UNLIMITED,
    USED_PEAK,
    WAIT,
    per_minute,
    utilisation,
)
from grafana.builder.panel import Panel, Query
from grafana.builder.promql import POOL, highest, of_pool, quantile, total

POOL_ITSELF = Row(
    "What does the pool do?",
    (
        Panel(
            "Connections",
            "Connections that are out of the pool (used) and in it (idle), and the limit. Healthy is a band of used "
            f"that stays well below the limit. {UNLIMITED}",
            "short",
            (
                Query(
                    total(of_pool(COUNT), "db_client_connection_state", POOL),
                    f"{{{{db_client_connection_state}}}} · {POOL_LEGEND}",
                ),
                Query(total(of_pool(MAX), POOL), f"{POOL_LEGEND} max"),
            ),
            stacked=True,
        ),
        Panel(
            "Waiting requests, over time",
            "Requests that wait for a connection. Healthy is 0, with single peaks.",
            "short",
            (Query(total(of_pool(PENDING), POOL), POOL_LEGEND),),
        ),
        Panel(
            "Utilisation, over time",
            "Connections in use, of the most that the pool may have; of several processes or workers the fullest. One "
            "worker at 100 % lets its requests wait, however idle the others are. Healthy is below 80 %. "
            f"{UNLIMITED}",
            "percentunit",
            (Query(utilisation(), POOL_LEGEND),),
            warning=0.8,
            maximum=1,
        ),
        Panel(
            "Peaks between two scrapes",
            "The most connections in use and the most waiting requests at once, of the last minute or two; of several "
            "processes or workers the highest. Scrapes miss such peaks. Healthy is no waiting request; connections in "
            "use may touch the limit of one process.",
            "short",
            (
                Query(highest(of_pool(USED_PEAK), POOL), f"used · {POOL_LEGEND}"),
                Query(highest(of_pool(PENDING_PEAK), POOL), f"waiting · {POOL_LEGEND}"),
            ),
        ),
        Panel(
            "Wait: p50, p95, p99",
            "How long checkouts take, and the making of a connection where one was made. Healthy: p50 below 1 ms, "
            "p99 below 10 ms. A point is one request: click it for its trace.",
            "s",
            tuple(
                Query(
                    quantile(share, of_pool(f"{WAIT}_bucket"), POOL),
                    f"p{share * 100:g} · {POOL_LEGEND}",
                    exemplars,
                )
                # The same requests are behind all three.
                for share, exemplars in ((0.5, False), (0.95, False), (0.99, True))
            ),
            warning=0.1,
        ),
        Panel(
            "Connects, a minute",
            "Connections that were opened. Healthy is near 0 once the application is warm; many are a pool whose "
            "size is too small for its load (max_overflow is used and thrown away), or pool_recycle that is too "
            "short.",
            "cpm",
            (Query(per_minute(of_pool(f"{CREATE}_count"), POOL), POOL_LEGEND),),
        ),
        Panel(
            "How long a connect takes: p99",
            "Opening a connection: network, TLS, login. Healthy is below 100 ms; more is a database that is "
            "overloaded, or far away.",
            "s",
            (Query(quantile(0.99, of_pool(f"{CREATE}_bucket"), POOL), POOL_LEGEND, exemplars=True),),
            warning=0.1,
        ),
        Panel(
            "Invalidations and suspected leaks, a minute",
            "Connections that were thrown away because of an error on them (the server went away, a COMMIT that took "
            "too long), and connections that were held for longer than leak_threshold. Healthy is 0; the log names "
            "the holder of a suspected leak.",
            "cpm",
            (
                Query(per_minute(of_pool("db_session_invalidations_total"), POOL), f"invalidated · {POOL_LEGEND}"),
                Query(per_minute(of_pool("db_session_leaks_suspected_total"), POOL), f"suspected leak · {POOL_LEGEND}"),
            ),
        ),
        Panel(
            "Connections by server",
            "Where the open connections lead. Healthy is one server for each pool; two only for as long as requests in "
            "flight finish after a failover or a planned switch (docs/hosts.md).",
            "short",
            (
                Query(
                    total(of_pool("db_session_server_connections"), "server_address", "server_port", POOL),
                    f"{{{{server_address}}}}:{{{{server_port}}}} · {POOL_LEGEND}",
                ),
            ),
            stacked=True,
        ),
    ),
)
