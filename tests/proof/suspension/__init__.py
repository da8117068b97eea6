"""The suspension sweep: every way of ending a unit of work is cancelled wherever it waits."""

from tests.proof.report import REPORT

SUITE = REPORT.suite("suspension sweep", "scenarios", "points", "schedules", "violations")
