"""The pytest plugin fails the tests that it has to, and says where the mistake is."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest

INSIDE = Path(__file__).parent / "inside"
OPTIONS = ("--db-held-idle=10ms", "--db-nested-checkouts", "--db-late-tasks", "--db-unclosed-contexts")


@dataclass(frozen=True)
class Outcome:
    """What the run said of a test: why it failed, and why its teardown did."""

    failure: str = ""
    error: str = ""


@dataclass(frozen=True)
class Run:
    """A run of the tests of the folder ``inside``."""

    outcomes: dict[str, Outcome]
    shown: str


def _pytest(*arguments: str, database_url: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "--confcutdir=.", "-p", "no:cacheprovider"]
    return subprocess.run(  # noqa: S603 - our own command
        [*command, *arguments],
        cwd=INSIDE,
        env={**os.environ, "DATABASE_URL": database_url, "SANIC_TOUCHUP": "false"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.fixture(scope="module")
def run(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the tests of the folder ``inside`` with all options."""
    report = tmp_path_factory.mktemp("plugin") / "report.xml"
    files = ("aiohttp_tests.py", "other_frameworks_tests.py")
    ran = _pytest(*OPTIONS, f"--junitxml={report}", *files, database_url=database_url)
    assert report.exists(), ran.stdout + ran.stderr
    found: dict[str, Outcome] = {}
    # A test with an error in its teardown has two entries.
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own report
        before = found.get(case.attrib["name"], Outcome())
        failure, error = ("".join(each.text or "" for each in case.iter(part)) for part in ("failure", "error"))
        found[case.attrib["name"]] = Outcome(before.failure + failure, before.error + error)
    return Run(found, ran.stdout)


@pytest.fixture(scope="module")
def outcomes(run: Run) -> dict[str, Outcome]:
    return run.outcomes


@pytest.mark.parametrize(
    ("test", "route"),
    [
        ("test_late_payment", "POST /orders/{id}"),
        ("test_late_payment_rolled_back", "POST /orders/{id}"),
        ("test_httpx", "POST /orders/{id}"),
        ("test_starlette_client", "POST /orders/{id}"),
        ("test_sanic_asgi_client", "POST /orders/<id:str>"),
        ("test_sanic_client", "POST /orders/<id:str>"),
    ],
)
def test_a_connection_that_is_held_idle_fails_the_test(outcomes: dict[str, Outcome], test: str, route: str) -> None:
    said = outcomes[test].failure
    assert re.search(
        rf"Held idle: '{re.escape(route)}' held a connection of pool 'shop' for \d\.\d+ s\. "
        r"In \d\.\d+ s of them it did not use the connection, and the limit is 0\.01 s\. "
        r"For \d\.\d+ s of them the code awaited at\n\s+shop\.py:\d+ in pay\n"
        r"\s+await asyncio\.sleep\(PAYMENT_SECONDS\).*\n"
        r"\s+called from shop\.py:\d+ in pay_late\n",
        said,
    ), said
    assert "await commit_db_session(connection)" in said
    assert outcomes[test].error == ""


@pytest.mark.parametrize(
    "test",
    [
        "test_late_payment_within_its_limit",
        "test_late_payment_without_a_limit",
        "test_early_payment",
        "test_nested_once_as_allowed",
        "test_side_by_side",
        "test_a_job",
        "test_a_test_session_that_is_rolled_back",
        "test_what_a_fixture_does_is_left_alone",
    ],
)
def test_a_test_within_its_limits_passes(outcomes: dict[str, Outcome], test: str) -> None:
    assert outcomes[test] == Outcome()


def test_a_failure_of_the_test_itself_stays_and_the_mistake_is_said_beside_it(run: Run) -> None:
    outcome = run.outcomes["test_a_failure_of_its_own"]
    assert "a failure of its own" in outcome.failure
    assert "Held idle" not in outcome.failure
    section = run.shown.partition("Captured database sessions call")[2]
    assert "Held idle: 'POST /orders/{id}'" in section.splitlines()[1]


def test_code_that_blocks_the_event_loop_is_told_apart(outcomes: dict[str, Outcome]) -> None:
    said = outcomes["test_blocking"].failure
    assert "Held idle: 'POST /orders/{id}'" in said
    assert "blocked the event loop" in said


@pytest.mark.parametrize("test", ["test_nested", "test_nested_in_tasks", "test_nested_rolled_back"])
def test_a_nested_checkout_fails_the_test_although_it_did_not_wait(outcomes: dict[str, Outcome], test: str) -> None:
    said = outcomes[test].failure
    assert re.search(
        r"Nested checkout: 'POST /orders/\{id\}' held a connection of pool 'shop', and checked out another one at\n"
        r"\s+shop\.py:\d+ in query\n",
        said,
    ), said


def test_a_task_that_uses_the_context_of_an_ended_request_fails_the_test(outcomes: dict[str, Outcome]) -> None:
    said = outcomes["test_late_task"].failure
    assert "Late task: task 'audit' used the database context of 'POST /orders/{id}', which had ended, at" in said
    assert re.search(r"shop\.py:\d+ in query\n", said), said


def test_a_context_that_stays_open_fails_the_test(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["test_unclosed"]
    assert outcome.failure == ""
    assert "Unclosed context: the database context of a job" in outcome.error
    assert "held 1 connection(s)" in outcome.error
    assert re.search(r"shop\.py:\d+ in query\n", outcome.error), outcome.error


def test_without_options_and_marks_nothing_is_imported() -> None:
    ran = _pytest("off_tests.py")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_time_that_is_none_is_refused() -> None:
    ran = _pytest("--db-held-idle=50m", "--collect-only", "off_tests.py")
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert "argument --db-held-idle: '50m' is no time: write 50ms or 0.5s" in ran.stderr


def test_a_mark_with_an_impossible_value_is_refused() -> None:
    ran = _pytest("impossible_tests.py")
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert (
        "impossible_tests.py::test_never_runs: @pytest.mark.db_held_idle: max=-1 is no time: write seconds (0.05), "
        "'50ms' or None"
    ) in ran.stderr
