"""The fault sweep: at every operation on the driver or the pool, everything goes wrong that can."""

from tests.proof.report import REPORT

SUITE = REPORT.suite("fault sweep", "scenarios", "operations", "schedules", "violations")
