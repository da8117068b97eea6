"""The budget of instructions is of the locked versions; of others, ``make budget`` would check nothing."""

import json
import re
from pathlib import Path

from tools.benchmarks.budget.__main__ import BUDGET, PACKAGES, STANDARD

LOCK = (Path(__file__).parents[2] / "requirements.lock").read_text()


def test_it_is_of_the_locked_versions() -> None:
    machine = json.loads(BUDGET.read_text())["machine"]
    locked = dict(re.findall(r"^([\w.-]+)==([\w.]+)", LOCK, re.MULTILINE))
    assert {name: machine[name] for name in PACKAGES} == {name: locked[name] for name in PACKAGES}


def test_it_has_each_standard_request() -> None:
    assert json.loads(BUDGET.read_text())["instructions"].keys() == STANDARD.keys()
