"""What the suites of this package report at the end of a test run: one line each."""

import os
from dataclasses import dataclass, field


@dataclass
class Suite:
    """The figures of one suite.

    Args:
        name: of the suite.
        figures: what was counted, by its noun in the plural.

    """

    name: str
    figures: dict[str, int] = field(default_factory=dict[str, int])

    def count(self, noun: str, number: int = 1) -> None:
        """Add to one of the figures; the line names them in the order of their first use."""
        self.figures[noun] = self.figures.get(noun, 0) + number

    @property
    def line(self) -> str:
        """What the terminal shows."""
        return f"proof: {self.name}: " + ", ".join(f"{number:,} {noun}" for noun, number in self.figures.items())


class Report:
    """The suites that have run."""

    def __init__(self) -> None:
        self._suites: dict[str, Suite] = {}

    def suite(self, name: str, *nouns: str) -> Suite:
        """Return the suite of a name, made at its first use.

        Args:
            name: of the suite.
            nouns: the figures that its line begins with, in this order.

        """
        return self._suites.setdefault(name, Suite(name, dict.fromkeys(nouns, 0)))

    def figures(self) -> dict[str, dict[str, int]]:
        """Return the figures of each suite, for another process."""
        return {suite.name: suite.figures for suite in self._suites.values()}

    def add(self, figures: dict[str, dict[str, int]]) -> None:
        """Add the figures of another process."""
        for name, counts in figures.items():
            for noun, number in counts.items():
                self.suite(name).count(noun, number)

    @property
    def lines(self) -> list[str]:
        """One for each suite that has counted something."""
        return [suite.line for suite in self._suites.values() if any(suite.figures.values())]


REPORT = Report()
"""The report of this process. ``conftest.py`` adds those of the other processes of the test run, and prints it."""


def wanted_schedules() -> int | None:
    """Return how many schedules ``PROOF_SCHEDULES`` asks for, or None for a suite's default."""
    wanted = os.environ.get("PROOF_SCHEDULES", "")
    return int(wanted) if wanted else None


def replayed() -> str | None:
    """Return the token of the one schedule that ``PROOF_REPLAY`` asks for."""
    return os.environ.get("PROOF_REPLAY") or None
