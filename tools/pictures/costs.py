# matplotlib is installed for `make pictures` and `make benchmark-docs` only, not where types are checked.
# pyright: basic, reportMissingImports=false
"""Draws what `make benchmark` has measured, and writes its table into the documentation: ``make benchmark-docs``."""

from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from tools.benchmarks.peers.documentation import PAGE, PICTURE, with_table
from tools.benchmarks.peers.results import MEASURED, GroupOfResults, Measured, Result
from tools.pictures.drawing import save

_WIDTH, _DPI = 9.0, 150
"""Inches, and dots for each."""
_BAR, _PANEL = 0.27, 0.5
"""The height of a bar, and of what a panel has beside its bars, in inches."""
_TOP, _BOTTOM = 0.62, 0.12
_LEFT, _RIGHT = 0.44, 0.86
"""Where the bars begin and end, as parts of the width."""
_TEXT, _FAINT, _GRID = "#24292E", "#6E757C", "#E7E9EA"
_BESIDE: dict[str, Any] = {
    "textcoords": "offset points",
    "va": "center",
    "bbox": {"fc": "white", "ec": "none", "pad": 1},
}
_BY_HAND, _OURS, _PEER, _BOUND = "#9AA0A6", "#56A64B", "#5794F2", "#FF780A"


def draw(measured: Measured, path: Path) -> None:
    """Draw a panel of bars for each group into a file."""
    groups = list(measured.groups.values())
    height = _TOP + _BOTTOM + sum(_PANEL + _BAR * len(group.results) for group in groups)
    longest = max(result.ratio(group.reference) for group in groups for result in group.results)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white")
    title = "CPU time of a request with two SELECTs, over the same request by hand"
    figure.text(0.012, 1 - 0.2 / height, title, fontsize=12, weight="bold", color=_TEXT, va="center")
    figure.text(0.012, 1 - 0.42 / height, _note(measured), fontsize=8.5, color=_FAINT, va="center")
    top = _TOP
    for group in groups:
        bars = _BAR * len(group.results)
        figure.text(0.012, 1 - (top + 0.2) / height, group.title, fontsize=10, weight="bold", color=_TEXT, va="center")
        top += _PANEL - 0.12
        axes = figure.add_axes((_LEFT, 1 - (top + bars) / height, _RIGHT - _LEFT, bars / height))
        _draw_bars(axes, group, longest)
        top += bars + 0.12
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    save(Image.open(drawn), path)


def _note(measured: Measured) -> str:
    seen = measured.circumstances
    return f"Shorter is better. {seen['date']}, CPython {seen['python']}, medians of {seen['sets']} sets of processes."


def _draw_bars(axes: Any, group: GroupOfResults, longest: float) -> None:
    bound = next((result for result in group.results if "alone" in result.title), None)
    for number, result in enumerate(group.results):
        ratio = result.ratio(group.reference)
        axes.barh(number, ratio, height=0.72, color=_color(result, group))
        written = f"{ratio:.2f}   {result.median:.0f} µs"
        axes.annotate(
            *(written, (ratio, number), (5, 0)),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=_TEXT,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    axes.axvline(1, color=_FAINT, linewidth=0.8)
    if bound is not None:
        axes.axvline(bound.ratio(group.reference), color=_BOUND, linewidth=1, linestyle="--")
    labels = [result.title.replace("`", "") for result in group.results]
    axes.set_yticks(range(len(labels)), labels, fontsize=8.5, color=_TEXT)
    axes.set(xlim=(0, longest * 1.02), ylim=(len(labels) - 0.5, -0.5), xticks=[])
    axes.tick_params(length=0)
    axes.set_frame_on(False)


def _color(result: Result, group: GroupOfResults) -> str:
    if result is group.reference or result.title.startswith("by hand"):
        return _BY_HAND
    if "alone" in result.title:
        return _BOUND
    return _OURS if result.title.startswith("this library") else _PEER


def main() -> None:
    """Draw the picture, and write the table into the page."""
    measured = Measured.read(MEASURED)
    draw(measured, PICTURE)
    PAGE.write_text(with_table(PAGE.read_text(), measured))
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1000} kB\n{PAGE}")


if __name__ == "__main__":
    main()
