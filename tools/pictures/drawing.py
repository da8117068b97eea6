# matplotlib and Pillow are installed for `make pictures` only, not where types are checked.
# pyright: basic, reportMissingImports=false
"""Draws panels where the dashboard has them, in Grafana's manner."""

import math
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from PIL import Image

from tools.pictures.dashboard import Panel, Series, Shown, written

_COLUMNS = 24
_WIDTH, _DPI = 12.0, 150
"""Inches, and dots for each."""
_ROW_HEIGHT, _HEADER_ROWS = 0.36, 1.6
_MARGIN_X, _MARGIN_Y = 0.004, 0.008
_LEGEND_LINES = 5
_LINE_HEIGHT = 0.165
_TICK_SECONDS = 15
_PALETTE = ("#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#705DA0")
_LEVELS = {"green": "#56A64B", "orange": "#FF9830", "red": "#E02F44"}
_TEXT, _FAINT, _BORDER = "#24292E", "#6E757C", "#D8DADD"


def draw(shown: Shown, what_happens: str, path: Path) -> None:
    """Draw panels into a file.

    Args:
        shown: what is drawn.
        what_happens: in the time that is shown: a sentence.
        path: of the picture.

    """
    panels = shown.panels
    rows = _HEADER_ROWS + max(panel.place["y"] + panel.place["h"] for panel in panels)
    figure = Figure(figsize=(_WIDTH, rows * _ROW_HEIGHT), dpi=_DPI, facecolor="#F4F5F5")
    figure.text(0.008, 1 - 0.6 / rows, shown.title, fontsize=13, weight="bold", color=_TEXT, va="center")
    note = f"Drawn from Prometheus data, not by Grafana. {what_happens}"
    figure.text(0.008, 1 - 1.2 / rows, note, fontsize=9, color=_FAINT, va="center")
    for panel in panels:
        place = panel.place
        left, width = place["x"] / _COLUMNS, place["w"] / _COLUMNS
        bottom, height = 1 - (_HEADER_ROWS + place["y"] + place["h"]) / rows, place["h"] / rows
        if panel.definition["type"] == "row":
            text = f"▾ {panel.definition['title']}"
            figure.text(left + 0.008, bottom + height / 2, text, fontsize=10.5, weight="bold", color=_TEXT, va="center")
            continue
        box = (left + _MARGIN_X, bottom + _MARGIN_Y / 2, width - 2 * _MARGIN_X, height - _MARGIN_Y)
        {"stat": _draw_stat, "timeseries": _draw_course}[panel.definition["type"]](figure, box, panel)
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    save(Image.open(drawn), path)


def save(image: Image.Image, path: Path) -> None:
    """Write a picture of few colours into a file, as small as it can be."""
    image.convert("RGB").quantize(128).save(path, optimize=True)


def _draw_stat(figure: Any, box: tuple[float, float, float, float], panel: Panel) -> None:
    defaults = panel.definition["fieldConfig"]["defaults"]
    (series,) = panel.series
    (_, value) = series.points[-1]
    color = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is not None and value >= step["value"]:
            color = step["color"]
    axes = _frame(figure, box, panel.definition["title"], _LEVELS[color], "white")
    axes.text(0.5, 0.42, written(value, defaults["unit"]), **_CENTERED, fontsize=25, color="white", weight="bold")
    axes.text(0.5, 0.11, series.name, **_CENTERED, fontsize=8.5, color="white")


_CENTERED: dict[str, Any] = {"ha": "center", "va": "center"}


def _draw_course(figure: Any, box: tuple[float, float, float, float], panel: Panel) -> None:
    _frame(figure, box, panel.definition["title"], "white", _TEXT)
    left, bottom, width, height = box
    inch = 1 / figure.get_figheight()
    # Title above, legend below: a heading, and a line for each series.
    below = (_LEGEND_LINES + 1.6) * _LINE_HEIGHT * inch
    plot = (left + 0.045, bottom + below + 0.2 * inch, width - 0.055, height - below - 0.55 * inch)
    axes: Any = figure.add_axes(plot)
    defaults = panel.definition["fieldConfig"]["defaults"]
    ranked = sorted(panel.series, key=_most, reverse=True)
    colors = {series.name: _PALETTE[index % len(_PALETTE)] for index, series in enumerate(_by_name(panel.series))}
    for series in ranked:
        times = [at for at, _ in series.points]
        values = [value for _, value in series.points]
        axes.plot(times, values, color=colors[series.name], linewidth=1.6)
        axes.fill_between(times, values, color=colors[series.name], alpha=defaults["custom"]["fillOpacity"] / 100)
    _style(axes, defaults)
    _draw_legend(figure, (left, bottom, width, below), ranked, colors, defaults["unit"])


def _style(axes: Any, defaults: dict[str, Any]) -> None:
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is not None and defaults["custom"]["thresholdsStyle"]["mode"] != "off":
            axes.axhline(step["value"], color=_LEVELS[step["color"]], linestyle="--", linewidth=0.9)
    axes.set_ylim(defaults["min"], defaults.get("max"))
    axes.margins(x=0)
    began, ended = axes.get_xlim()
    axes.xaxis.set_major_locator(
        MultipleLocator(max(_TICK_SECONDS, (ended - began) // 3 // _TICK_SECONDS * _TICK_SECONDS))
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _position: f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: written(value, defaults["unit"])))
    axes.tick_params(labelsize=8, colors=_FAINT, length=0)
    axes.grid(color="#E7E9EA", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_frame_on(False)


def _draw_legend(
    figure: Any, box: tuple[float, float, float, float], ranked: list[Series], colors: dict[str, str], unit: str
) -> None:
    left, bottom, width, height = box
    line = height / (_LEGEND_LINES + 1.6)
    columns = (left + 0.022, left + width - 0.052, left + width - 0.008)

    def write(number: float, texts: tuple[str, str, str], color: str) -> None:
        at = bottom + height - (number + 0.6) * line
        for x, text, align in zip(columns, texts, ("left", "right", "right"), strict=True):
            figure.text(x, at, text, fontsize=8, color=color, ha=align, va="center")

    write(0, ("Name", "Mean", "Max"), _FAINT)
    hidden = len(ranked) - _LEGEND_LINES
    shown = ranked if hidden <= 0 else ranked[: _LEGEND_LINES - 1]
    for number, series in enumerate(shown, start=1):
        values = [value for _, value in series.points if not math.isnan(value)]
        mean = sum(values) / len(values) if values else math.nan
        write(number, (series.name, written(mean, unit), written(_most(series), unit)), _TEXT)
        at = bottom + height - (number + 0.6) * line
        figure.text(left + 0.007, at, "━", fontsize=9, color=colors[series.name], va="center")
    if hidden > 0:
        write(_LEGEND_LINES, (f"and {len(ranked) - len(shown)} more, which are lower", "", ""), _FAINT)


def _frame(figure: Any, box: tuple[float, float, float, float], title: str, fill: str, color: str) -> Any:
    axes = figure.add_axes(box)
    axes.set(facecolor=fill, xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
    for spine in axes.spines.values():
        spine.set_color(_BORDER)
    axes.annotate(
        title, (0, 1), (7, -7), textcoords="offset points", va="top", fontsize=9.5, weight="bold", color=color
    )
    return axes


def _most(series: Series) -> float:
    return max((value for _, value in series.points if not math.isnan(value)), default=math.nan)


def _by_name(all_series: list[Series]) -> list[Series]:
    return sorted(all_series, key=lambda series: series.name)
