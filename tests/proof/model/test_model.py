"""Random calls of the public API do what the model says; and the machine finds the bugs that are planted."""

from collections.abc import Callable, Generator
from importlib.metadata import version

import pytest
from hypothesis import HealthCheck, Phase, reproduce_failure, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.proof.model import rivals
from tests.proof.model.api import Api
from tests.proof.model.comparison import Comparison
from tests.proof.model.machine import ContextMachine
from tests.proof.model.observation import OtherClient
from tests.proof.report import REPORT, replayed, wanted_schedules

RUNS = 300
STEPS = 25
RUNS_OF_A_CONTROL = 150
SUITE = "model of the public API"

Run = Callable[[ContextMachine], None]


@pytest.fixture(scope="module", autouse=True)
def _client(database_url: str) -> Generator[None]:
    with OtherClient(database_url) as client:
        client.empty()
        Comparison.client, Comparison.url = client, database_url
        yield


def _try(machine: type[ContextMachine], runs: int, *, is_random: bool = False, shrinks: bool = True) -> None:
    phases = [Phase.generate, Phase.shrink] if shrinks else [Phase.generate]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=STEPS,
            derandomize=not is_random,
            database=None,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            phases=phases,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


@pytest.mark.timeout(0)
def test_the_public_api_does_what_the_model_says() -> None:
    """PROOF_SCHEDULES asks for more runs, other ones each time; PROOF_REPLAY takes the token of a violation."""

    class Machine(ContextMachine):
        pass

    wanted, token = wanted_schedules(), replayed()
    if token is not None:
        reproduce_failure(version("hypothesis"), token.encode())(Machine)
    suite = REPORT.suite(SUITE)
    try:
        _try(Machine, wanted or RUNS, is_random=wanted is not None)
    except AssertionError:
        suite.count("violations")
        raise
    finally:
        suite.count("runs", Machine.runs)
        suite.count("calls", Machine.steps)
    suite.count("violations", 0)


# A bug that is planted may lose a connection, which Python's own warning tells at its collection.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("rival", "violation"),
    [
        (rivals.AtomicWithoutRollback, "in_transaction"),
        (rivals.CommitOfTheFirst, "in_transaction|other rows"),
        (rivals.AnswerBeforeCommit, "in_transaction|other rows|IntegrityError'> was predicted, and None raised"),
        (rivals.SwallowedError, "was predicted, and None raised"),
        (rivals.LeakedConnection, "in_transaction|connections held"),
    ],
)
def test_a_planted_bug_is_found(rival: type[Api], violation: str) -> None:
    class Machine(ContextMachine):
        api = rival

    with pytest.raises(AssertionError, match=violation):
        _try(Machine, RUNS_OF_A_CONTROL, shrinks=False)
    REPORT.suite(SUITE).count("planted bugs found")


def _goes_on_after_a_failure(machine: ContextMachine) -> None:
    machine.work(connection="main", kind="row")
    machine.work(connection="main", kind="failure")
    machine.leave(fails=False)


def _gives_a_stream_up(machine: ContextMachine) -> None:
    machine.begin_stream(connection="main", then="drop")
    machine.send_headers(status=200)


def _rolls_back_with_a_savepoint(machine: ContextMachine) -> None:
    machine.savepoint(connection="main", what="begin")
    machine.work(connection="main", kind="row")
    machine.end_transaction(connection="main", ending="rollback")
    machine.work(connection="main", kind="row")


@pytest.mark.parametrize("run", [_goes_on_after_a_failure, _gives_a_stream_up, _rolls_back_with_a_savepoint])
def test_a_run_that_the_machine_has_found(run: Run) -> None:
    machine = ContextMachine()
    try:
        machine.begin(opening="block")
        run(machine)
        machine.rows_and_transactions_are_those_of_the_model()
    finally:
        machine.teardown()
