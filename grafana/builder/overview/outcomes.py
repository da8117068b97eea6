"""The third row: how transactions end."""

from grafana.builder.dashboard import Row
from grafana.builder.overview.queries import BY_ROUTE, POOL_LEGEND, ROUTE_LEGEND, TRANSACTION, events_in_range
from grafana.builder.panel import Panel, Query
from grafana.builder.promql import POOL, of_process, of_route, quantile, rate, total

OUTCOMES = Row(
    "How do transactions end?",
    (
        Panel(
            "Transactions",
            "Transactions by their outcome. Healthy is commits, and the rollbacks of errors that are answered. lost: "
            "the connection went away before; unknown: during the COMMIT.",
            "ops",
            (
                Query(
                    total(rate(of_route(f"{TRANSACTION}_count")), "outcome", POOL),
                    f"{{{{outcome}}}} · {POOL_LEGEND}",
                ),
            ),
        ),
        Panel(
            "How long transactions take: p95",
            "From the first statement to the end of the COMMIT or ROLLBACK. Healthy is milliseconds: a long "
            "transaction holds locks, and keeps PostgreSQL from cleaning up. A point is one request: click it for "
            "its trace.",
            "s",
            (
                Query(
                    quantile(0.95, of_route(f"{TRANSACTION}_bucket"), "outcome", POOL),
                    f"{{{{outcome}}}} · {POOL_LEGEND}",
                    exemplars=True,
                ),
            ),
        ),
        Panel(
            "Requests",
            "Requests and jobs that used the database, by how they ended, of all pools. Healthy is no failed: there "
            "the COMMIT did not succeed, and the client got a 500. unused: a connection was asked for, and no "
            "transaction ran.",
            "ops",
            (Query(total(rate(of_process("db_session_contexts_total")), "outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Commits of unknown outcome",
            "Transactions whose COMMIT was interrupted, in the time shown: they may have happened. Healthy is 0; "
            "look into the database before you repeat one.",
            "short",
            (Query(events_in_range(of_route(f"{TRANSACTION}_count", 'outcome="unknown"'), *BY_ROUTE), ROUTE_LEGEND),),
            kind="stat",
            width=24,
            critical=1,
            without_data="0",
        ),
    ),
)
