"""What was measured, as a file and as a table."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parent / "measured.json"
"""What the documentation shows."""

HEADING = "| two SELECTs in one transaction | CPU time | of by hand | by set of processes |"
"""The first line of the table."""


@dataclass(frozen=True)
class Result:
    """One contestant.

    Attributes:
        title: who it is, with the versions that differ from the others'.
        median: of all blocks, in microseconds of CPU time per request.
        by_set: the median of each set of processes.
        over: the title of another one that it is compared with, beside the first of the group.

    """

    title: str
    median: float
    by_set: tuple[float, ...]
    over: str | None = None

    def ratio(self, reference: "Result") -> float:
        """Return the median over the reference's."""
        return self.median / reference.median

    def ratios_by_set(self, reference: "Result") -> list[float]:
        """Return the ratio of each set of processes."""
        return [ours / theirs for ours, theirs in zip(self.by_set, reference.by_set, strict=True)]


@dataclass(frozen=True)
class GroupOfResults:
    """Contestants that are compared with the first of them.

    Attributes:
        title: what they have in common.
        results: the first is the reference.

    """

    title: str
    results: tuple[Result, ...]

    @property
    def reference(self) -> Result:
        """The first, which the others are compared with."""
        return self.results[0]


@dataclass(frozen=True)
class Measured:
    """One run of the benchmark.

    Attributes:
        circumstances: the date, the interpreter and how much was measured, by name.
        groups: by name.

    """

    circumstances: Mapping[str, str | int]
    groups: Mapping[str, GroupOfResults]

    def write(self, path: Path) -> None:
        """Write a file."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Measured":
        """Read the file that `write` has written."""
        read: dict[str, Any] = json.loads(path.read_text())
        groups = {
            name: GroupOfResults(
                group["title"],
                tuple(
                    Result(each["title"], each["median"], tuple(each["by_set"]), each["over"])
                    for each in group["results"]
                ),
            )
            for name, group in read["groups"].items()
        }
        return cls(read["circumstances"], groups)


def table(groups: Sequence[GroupOfResults]) -> str:
    """Return a table in Markdown: a row for each contestant, with its ratio to the first of its group."""
    lines = [HEADING, "|---|---|---|---|"]
    for group in groups:
        by_title = {result.title: result for result in group.results}
        for result in group.results:
            row = f"| {group.title}: {result.title} | {result.median:.0f} µs |"
            ratios = "1 | |" if result is group.reference else _ratios(result, group.reference)
            lines.append(f"{row} {ratios}")
            if result.over is not None:
                row = f"| {group.title}: {result.title}, over *{result.over}* | |"
                lines.append(f"{row} {_ratios(result, by_title[result.over])}")
    return "\n".join(lines)


def _ratios(result: Result, reference: Result) -> str:
    by_set = result.ratios_by_set(reference)
    low, middle, high = statistics.quantiles(by_set, n=4) if len(by_set) > 1 else by_set * 3
    return f"{result.ratio(reference):.3f} | {middle:.3f} ({low:.3f} to {high:.3f}) |"
