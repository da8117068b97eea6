"""The lines of the suites, where CI shows them too; and no garbage collector that tidies up behind a defect."""

import gc
from collections.abc import Generator

import pytest

from tests.proof.report import REPORT


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each suite."""
    for line in REPORT.lines:
        terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def no_garbage_collector() -> Generator[None]:
    """Disable the garbage collector during each test."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()
