"""The shipped files, read as Grafana and Prometheus read them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parents[2] / "grafana"
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
ALERTS = sorted((FOLDER / "alerts").glob("*.yaml"))
ALERT_TESTS = sorted((FOLDER / "alerts" / "tests").glob("*.yaml"))
PROMETHEUS_CONFIG = FOLDER / "prometheus.yml"
GOLDEN = Path(__file__).parents[1] / "adapters" / "prometheus" / "golden.openmetrics.txt"

Json = dict[str, Any]


class Target(NamedTuple):
    """A query of a panel, and the panel."""

    panel: Json
    query: Json

    @property
    def name(self) -> str:
        return f"{self.panel['title']} {self.query['refId']}"


def dashboards() -> Iterator[Json]:
    for path in DASHBOARDS:
        yield json.loads(path.read_text())


def panels() -> list[Json]:
    """Give those that show something: rows are headings."""
    return [panel for dashboard in dashboards() for panel in dashboard["panels"] if panel["type"] != "row"]


def targets() -> list[Target]:
    return [Target(panel, query) for panel in panels() for query in panel["targets"]]


def variables() -> list[Json]:
    return [variable for dashboard in dashboards() for variable in dashboard["templating"]["list"]]


def rules() -> list[Json]:
    return [rule for path in ALERTS for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def variable_queries() -> dict[str, str]:
    """Give the queries that variables get their values by, as PromQL."""
    return {
        variable["name"]: re.sub(r"label_values\((.*), (\w+)\)", r"group by (\2) (\1)", variable["query"]["query"])
        for variable in variables()
        if variable["type"] == "query"
    }


def expressions() -> dict[str, str]:
    """Give every PromQL that is shipped, by what it belongs to."""
    return {
        **{target.name: target.query["expr"] for target in targets()},
        **{rule["alert"]: rule["expr"] for rule in rules()},
        **variable_queries(),
    }


def measured() -> dict[str, set[str]]:
    """Find the labels of every metric that a real /metrics has."""
    labels: dict[str, set[str]] = {}
    for line in GOLDEN.read_text().splitlines():
        if not line.startswith("#"):
            series = line.partition(" # ")[0].rpartition(" ")[0]
            metric, _, found = series.partition("{")
            labels.setdefault(metric, set()).update(re.findall(r'(\w+)="', found))
    return labels
