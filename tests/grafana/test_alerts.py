"""The alert rules: valid, tested each, and with numbers, a severity and a runbook."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

import context_async_sqlalchemy
from tests.grafana import shipped
from tests.grafana.shipped import Json

_RULES = pytest.mark.parametrize("rule", shipped.rules(), ids=lambda rule: rule["alert"])


def _run(*command: str | Path) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the command is ours
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_promtool_accepts_the_rules_and_the_configuration(promtool: str) -> None:
    _run(promtool, "check", "rules", *shipped.ALERTS)
    _run(promtool, "check", "config", shipped.PROMETHEUS_CONFIG)


def test_each_rule_is_silent_and_fires_as_its_test_says(promtool: str) -> None:
    _run(promtool, "test", "rules", *shipped.ALERT_TESTS)


def test_a_rule_that_does_not_do_so_is_noticed(promtool: str, tmp_path: Path) -> None:
    (rules,) = shipped.ALERTS
    (tmp_path / "tests").mkdir()
    (tmp_path / rules.name).write_text(rules.read_text().replace(">= 0.95", ">= 9.5"))
    (tests,) = (path for path in shipped.ALERT_TESTS if path.name == rules.name)
    (tmp_path / "tests" / tests.name).write_text(tests.read_text())
    with pytest.raises(AssertionError, match="DbPoolExhausted"):
        _run(promtool, "test", "rules", tmp_path / "tests" / tests.name)


def test_each_rule_about_new_counters_is_silent_after_an_outage() -> None:
    (outages,) = (path for path in shipped.ALERT_TESTS if path.name == "outages.yaml")
    history = yaml.safe_load(outages.read_text())["tests"][0]
    silent = {case["alertname"] for case in history["alert_rule_test"] if not case["exp_alerts"]}
    assert silent == {rule["alert"] for rule in shipped.rules() if "increase(" in rule["expr"]}


@_RULES
def test_a_rule_tells_how_bad_it_is_how_much_and_what_to_do(rule: Json) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert "$value" in rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    runbook = (shipped.FOLDER / rule["annotations"]["runbook_url"]).read_text()
    assert runbook.startswith(f"# {rule['alert']}\n")
    for part in ("**You see**", "**Likely cause**", "**Fix**"):
        assert part in runbook


@_RULES
def test_a_rule_has_a_test_in_which_it_is_silent_and_one_in_which_it_fires(rule: Json) -> None:
    tests = [test for path in shipped.ALERT_TESTS for test in yaml.safe_load(path.read_text())["tests"]]
    of_rule = [case for test in tests for case in test["alert_rule_test"] if case["alertname"] == rule["alert"]]
    assert {bool(case["exp_alerts"]) for case in of_rule} == {False, True}


def test_runbooks_get_links_that_can_be_clicked_by_the_command_that_is_documented(tmp_path: Path) -> None:
    (rules,) = shipped.ALERTS
    (tmp_path / rules.name).write_text(rules.read_text())
    for document in (rules, shipped.FOLDER.parent / "docs/how-to/use-dashboards-and-alerts.md"):
        (expression,) = re.findall(r"sed -i '([^']+)'", document.read_text())
        (group,) = yaml.safe_load(_run("sed", expression, tmp_path / rules.name))["groups"]
        assert [rule["annotations"]["runbook_url"] for rule in group["rules"]] == [
            f"https://wiki.example.com/db/{rule['annotations']['runbook_url']}" for rule in shipped.rules()
        ]


def test_runbooks_name_what_the_library_has() -> None:
    texts = {path.name: path.read_text() for path in (shipped.FOLDER / "runbooks").glob("*.md")}
    assert "retry=Retry(" in texts["commits-failing.md"]
    for name, text in texts.items():
        called = set(
            re.findall(r"\b((?:run_in_new_ctx|[a-z_]+_db_session|[a-z_]*db_context|new_non_ctx_\w+|retried))\(", text)
        )
        assert all(hasattr(context_async_sqlalchemy, each) for each in called), name


def test_every_runbook_belongs_to_a_rule_and_links_to_others_that_exist() -> None:
    runbooks = sorted((shipped.FOLDER / "runbooks").glob("*.md"))
    assert {f"runbooks/{path.name}" for path in runbooks} == {
        rule["annotations"]["runbook_url"] for rule in shipped.rules()
    }
    for path in runbooks:
        for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"
