"""The PromQL that the panels share: selectors with the dashboard's variables, and what is done with them."""

POOL = "db_client_connection_pool_name"
EACH_SCRAPE = "db_session_contexts_total"
"""A metric that is in each scrape of a process, also before its first use of a database."""

_OF_PROCESS = 'job=~"$job", instance=~"$instance"'
_OF_POOL = f'{_OF_PROCESS}, {POOL}=~"$pool"'
_OF_ROUTE = f'{_OF_POOL}, route=~"$route"'


def of_process(metric: str) -> str:
    """Select a metric that has no pool."""
    return f"{metric}{{{_OF_PROCESS}}}"


def of_pool(metric: str, matchers: str = "") -> str:
    """Select a metric of pools.

    Args:
        metric: its name.
        matchers: more of them, as PromQL.

    """
    return f"{metric}{{{_OF_POOL}{matchers and ', '}{matchers}}}"


def of_route(metric: str, matchers: str = "") -> str:
    """Select a metric of pools and routes; see :func:`of_pool`."""
    return f"{metric}{{{_OF_ROUTE}{matchers and ', '}{matchers}}}"


def rate(selector: str) -> str:
    """Tell by how much a counter grows in a second."""
    return f"rate({selector}[$__rate_interval])"


def total(expression: str, *labels: str) -> str:
    """Add up what differs in other labels than these."""
    return f"sum by ({', '.join(labels)}) ({expression})"


def highest(expression: str, *labels: str) -> str:
    """Take the highest value of what differs in other labels than these."""
    return f"max by ({', '.join(labels)}) ({expression})"


def quantile(share: float, buckets: str, *labels: str) -> str:
    """Estimate a quantile of a histogram.

    Args:
        share: 0.99 for the time that 99 % stay below.
        buckets: the selector of its buckets.
        labels: those that series are kept apart by.

    """
    return f"histogram_quantile({share}, {total(rate(buckets), 'le', *labels)})"


def increase_in_range(selector: str) -> str:
    """Tell by how much a counter grew in the time that the dashboard shows.

    A series that begins at one, because the first event made it, has no increase for Prometheus. It counts in full if
    its process was scraped without it. The series of contexts is in each scrape, so it has more samples then. After an
    outage it has as many, so that the history of a counter is no increase.
    """
    scrapes = f"max by (job, instance) (count_over_time({of_process(EACH_SCRAPE)}[$__range]))"
    return (
        f"((({selector} unless {selector} offset $__range) and count_over_time({selector}[$__range]) "
        f"< on (job, instance) group_left () {scrapes}) or increase({selector}[$__range]))"
    )
