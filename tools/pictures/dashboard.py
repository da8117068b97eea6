"""The panels of the overview with what Prometheus has for them; how they look is :mod:`tools.pictures.drawing`'s."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from grafana.builder.dashboard import FOLDER
from grafana.variables import substituted

_SCRAPE_SECONDS = 5
"""As in grafana/prometheus.yml."""

_SHOWN_ROWS = 22
"""How much of the dashboard is drawn, from its top, in Grafana's rows: does the pool hurt, and which route is it."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Series:
    """What a query gave.

    Args:
        name: as the panel's legend has it.
        points: Unix times and values, as they are at each scrape; one point for a single value.

    """

    name: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """A panel, or the heading of a row of them.

    Args:
        definition: as the dashboard has it.
        series: what its queries gave.

    """

    definition: Json
    series: list[Series]

    @property
    def place(self) -> dict[str, int]:
        """Its place: x, y, w, h."""
        place: dict[str, int] = self.definition["gridPos"]
        return place


@dataclass(frozen=True)
class Shown:
    """The upper part of the dashboard.

    Args:
        title: of the dashboard.
        panels: from its top.

    """

    title: str
    panels: list[Panel]


def overview(prometheus: str, began: float, ended: float, scrape_seconds: int = _SCRAPE_SECONDS) -> Shown:
    """Read the dashboard, and ask Prometheus for what it shows.

    Args:
        prometheus: its URL.
        began: Unix time, as the following one; together the time that is shown.
        ended: the time of single values too.
        scrape_seconds: how often Prometheus scrapes.

    """
    dashboard: Json = json.loads((FOLDER / "overview.json").read_text())
    shown = [panel for panel in dashboard["panels"] if panel["gridPos"]["y"] < _SHOWN_ROWS]

    def asked(panel: Json) -> Iterator[Series]:
        for target in panel.get("targets", []):
            query = substituted(
                target["expr"],
                dashboard,
                scrape_seconds=scrape_seconds,
                range_seconds=math.ceil(ended - began),
            )
            when = {"time": ended} if target["instant"] else {"start": began, "end": ended, "step": scrape_seconds}
            path = "query" if target["instant"] else "query_range"
            with urlopen(f"{prometheus}/api/v1/{path}?{urlencode({'query': query, **when})}") as answer:  # noqa: S310 - ours
                for result in json.load(answer)["data"]["result"]:
                    values = result["values"] if "values" in result else [result["value"]]
                    points = [(float(at), float(value)) for at, value in values]
                    yield Series(_named(target["legendFormat"], result["metric"]), points)

    return Shown(dashboard["title"], [Panel(panel, list(asked(panel))) for panel in shown])


def written(value: float, unit: str) -> str:
    """Write a value as Grafana does, in the units that the dashboard has."""
    if math.isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.3g} ms"
    return f"{value:.3g}"


def _named(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)
