"""A plugin of pytest that prints the lines of the suites, also of those that ran in other processes."""

from typing import Any

import pytest

from tests.proof.report import REPORT

_OUTPUT = "proof"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the figures of a worker process to the process that prints them."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = REPORT.figures()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the figures of a worker process; one that crashed has none."""
    REPORT.add(getattr(node, "workeroutput", {}).get(_OUTPUT, {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each suite."""
    for line in REPORT.lines:
        terminalreporter.write_line(line)
