"""A dashboard: rows of panels, and the variables that all their queries use."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grafana.builder.panel import DATASOURCE, Json, Panel
from grafana.builder.promql import POOL

FOLDER = Path(__file__).parents[1] / "dashboards"

_COLUMNS = 24
_POOLS = "db_client_connection_pending_requests"
_ROUTES = "db_client_connection_wait_time_seconds_count"
_JOB = 'job=~"$job"'
_INSTANCE = f'{_JOB}, instance=~"$instance"'
_INSPECTOR: Json = {
    "title": "Inspector: the open sessions now",
    "type": "link",
    "icon": "external link",
    "tooltip": "The page of one process. Set its URL in the variable above",
    "url": "${inspector}",
    "tags": [],
    "asDropdown": False,
    "includeVars": False,
    "keepTime": False,
    "targetBlank": True,
}


@dataclass(frozen=True)
class Row:
    """A row of panels; they go on below where the width is not enough.

    Args:
        title: the question that it answers.
        panels: from left to right.

    """

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """A dashboard.

    Args:
        name: of its file; with the library's name before it, its ``uid``, which never changes: links have it.
        title: what it is called in Grafana.
        description: what it answers.
        rows: from top to bottom.

    """

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]

    def to_json(self) -> Json:
        """Give the dashboard as Grafana knows it."""
        return {
            "uid": f"context-async-sqlalchemy-{self.name}",
            "id": None,
            "title": self.title,
            "description": self.description,
            "tags": ["context-async-sqlalchemy"],
            "schemaVersion": 39,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "annotations": {"list": []},
            "links": [_INSPECTOR],
            "templating": {"list": list(_variables())},
            "panels": list(self._panels()),
        }

    def _panels(self) -> Iterator[Json]:
        number, y = 1, 0
        for row in self.rows:
            yield {
                "id": number,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1},
                "panels": [],
            }
            x, y, height = 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > _COLUMNS:
                    x, y, height = 0, y + height, 0
                number += 1
                yield panel.to_json(number, x, y)
                x, height = x + panel.width, max(height, panel.height)
            number, y = number + 1, y + height


def write(dashboard: Dashboard) -> None:
    """Write a dashboard's file."""
    (FOLDER / f"{dashboard.name}.json").write_text(as_text(dashboard))


def as_text(dashboard: Dashboard) -> str:
    """Give what is in a dashboard's file."""
    return json.dumps(dashboard.to_json(), indent=2) + "\n"


def _variables() -> Iterator[Json]:
    yield {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
    }
    yield _variable("job", "Job", f"label_values({_POOLS}, job)")
    yield _variable("instance", "Instance", f"label_values({_POOLS}{{{_JOB}}}, instance)")
    yield _variable("pool", "Pool", f"label_values({_POOLS}{{{_INSTANCE}}}, {POOL})")
    yield _variable("route", "Route", f'label_values({_ROUTES}{{{_INSTANCE}, {POOL}=~"$pool"}}, route)')
    yield {
        "name": "inspector",
        "label": "URL of the inspector",
        "description": "Where your application serves the inspector, for the link of the dashboard.",
        "type": "textbox",
        "query": "http://localhost:8080/_db",
        "current": {"text": "http://localhost:8080/_db", "value": "http://localhost:8080/_db"},
        "hide": 0,
    }


def _variable(name: str, label: str, query: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        # When the time range changes: what has gone away is still there in the past.
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }
