"""What Grafana puts into a query before Prometheus gets it."""

import re
from typing import Any


def substituted(expression: str, dashboard: dict[str, Any], *, scrape_seconds: int, range_seconds: int) -> str:
    """Put in what Grafana would with "All" selected.

    Args:
        expression: PromQL with variables.
        dashboard: whose variables they are.
        scrape_seconds: how often Prometheus scrapes.
        range_seconds: the time that the dashboard shows.

    Raises:
        KeyError: the dashboard has no such variable.

    """
    # Grafana's rule: four scrapes, or the step and one scrape.
    values = {"__rate_interval": f"{4 * scrape_seconds}s", "__range": f"{range_seconds}s"}
    for variable in dashboard["templating"]["list"]:
        values.setdefault(variable["name"], variable.get("allValue", ""))
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expression)
