"""The metrics, the legends and the queries that several rows share."""

from grafana.builder.promql import POOL, highest, increase_in_range, of_pool, of_route, rate, total

COUNT = "db_client_connection_count"
MAX = "db_client_connection_max"
PENDING = "db_client_connection_pending_requests"
UTILIZATION = "db_session_pool_utilization_ratio"
USED_PEAK = "db_session_pool_used_peak"
PENDING_PEAK = "db_session_pool_pending_peak"
WAIT = "db_client_connection_wait_time_seconds"
CREATE = "db_client_connection_create_time_seconds"
USE = "db_client_connection_use_time_seconds"
TIMEOUTS = "db_client_connection_timeouts_total"
SHED = "db_session_requests_shed_total"
HELD_IDLE = "db_session_held_idle_seconds"
TRANSACTION = "db_session_transaction_duration_seconds"
SAVED = "db_session_early_release_saved_seconds"

POOL_LEGEND = f"{{{{{POOL}}}}}"
ROUTE_LEGEND = f"{{{{route}}}} · {POOL_LEGEND}"
BY_ROUTE = ("route", POOL)
UNLIMITED = "A pool without a limit has no line here."
BLOCKED_LOOP = (
    "Code that blocks the event loop counts as use: a route that holds for long although its statements are quick may "
    "wait for another one's computation, and not for the database."
)


def share_held_idle(*labels: str) -> str:
    """Tell which share of the time that connections are held they are not used."""
    return f"{total(rate(of_route(f'{HELD_IDLE}_sum')), *labels)} / {total(rate(of_route(f'{USE}_sum')), *labels)}"


def utilisation() -> str:
    """Tell how full the fullest process of each pool is, each worker of a server counted as one."""
    return highest(of_pool(UTILIZATION), POOL)


def per_minute(selector: str, *labels: str) -> str:
    """Tell by how much a counter grows in a minute: for what should never happen."""
    return f"60 * {total(rate(selector), *labels)}"


def events_in_range(selector: str, *labels: str) -> str:
    """Tell how often something happened in the time that the dashboard shows."""
    # Prometheus extrapolates increases to the ends of the range.
    return f"round({total(increase_in_range(selector), *labels)})"
