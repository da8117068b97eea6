"""One panel: what is asked, how it is drawn, and the words that make it understood."""

from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    """A query.

    Args:
        expression: PromQL.
        legend: how a series is called, with ``{{label}}``.
        exemplars: show the traces of single measurements beside the line; of histograms only.

    """

    expression: str
    legend: str
    exemplars: bool = False


@dataclass(frozen=True)
class Panel:
    """A panel.

    Args:
        title: what it shows.
        description: how to read it, and what healthy is.
        unit: Grafana's name of the unit.
        queries: what is drawn.
        kind: ``stat`` for the last value in large figures, ``timeseries`` for its course.
        width: of the 24 columns that a dashboard has.
        warning, critical: the values from which it is orange, and red.
        stacked: draw the series on top of each other.
        maximum: the upper end of the axis.
        without_data: what is shown where there are no series, if that is good news.

    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["stat", "timeseries"] = "timeseries"
    width: int = 8
    warning: float | None = None
    critical: float | None = None
    stacked: bool = False
    maximum: float | None = None
    without_data: str | None = None

    @property
    def height(self) -> int:
        """In Grafana's rows of 30 pixels."""
        return 4 if self.kind == "stat" else 8

    def to_json(self, number: int, x: int, y: int) -> Json:
        """Give the panel as Grafana knows it.

        Args:
            number: its id in the dashboard.
            x: its column.
            y: its row.

        """
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": self._defaults(), "overrides": self._overrides()},
            "options": _STAT_OPTIONS if self.kind == "stat" else _TIME_SERIES_OPTIONS,
            "targets": [self._target(query, chr(ord("A") + index)) for index, query in enumerate(self.queries)],
        }

    def _defaults(self) -> Json:
        levels = [("green", None), ("orange", self.warning), ("red", self.critical)]
        steps = [{"color": color, "value": value} for color, value in levels if color == "green" or value is not None]
        defaults: Json = {
            "unit": self.unit,
            "min": 0,
            "color": {"mode": "thresholds" if self.kind == "stat" else "palette-classic"},
            "thresholds": {"mode": "absolute", "steps": steps},
        }
        if self.maximum is not None:
            defaults["max"] = self.maximum
        if self.without_data is not None:
            defaults["noValue"] = self.without_data
        if self.kind == "timeseries":
            defaults["custom"] = {
                "drawStyle": "line",
                "fillOpacity": 30 if self.stacked else 10,
                "showPoints": "auto",
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "off" if self.warning is None else "dashed"},
            }
        return defaults

    def _overrides(self) -> list[Json]:
        if not self.stacked:
            return []
        # What is stacked has a limit beside it: a line, and not a part of the stack.
        properties: list[Json] = [
            {"id": "custom.stacking", "value": {"mode": "none", "group": "A"}},
            {"id": "custom.fillOpacity", "value": 0},
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
        ]
        return [{"matcher": {"id": "byRegexp", "options": "/ max$/"}, "properties": properties}]

    def _target(self, query: Query, ref: str) -> Json:
        return {
            "refId": ref,
            "datasource": DATASOURCE,
            "expr": query.expression,
            "legendFormat": query.legend,
            "exemplar": query.exemplars,
            "instant": self.kind == "stat",
            "range": self.kind != "stat",
        }


_STAT_OPTIONS: Json = {
    "colorMode": "background",
    "graphMode": "none",
    "justifyMode": "auto",
    "orientation": "auto",
    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    "textMode": "value_and_name",
    "percentChangeColorMode": "standard",
    "showPercentChange": False,
    "wideLayout": True,
}
_TIME_SERIES_OPTIONS: Json = {
    "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["mean", "max"], "showLegend": True},
    "tooltip": {"mode": "multi", "sort": "desc"},
}
