"""The dashboards against Grafana's own types; see ``schemas/renew`` for where the schemas come from."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.grafana import shipped
from tests.grafana.shipped import Json

_SCHEMAS = Path(__file__).parent / "schemas"


def _faults(schema: str, instance: Json) -> list[str]:
    # Its stubs are not complete.
    validator: Any = Draft7Validator(json.loads((_SCHEMAS / f"{schema}.json").read_text()))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)]


@pytest.mark.parametrize("dashboard", list(shipped.dashboards()), ids=lambda dashboard: dashboard["uid"])
def test_a_dashboard_is_what_grafana_calls_one(dashboard: Json) -> None:
    assert _faults("dashboard", dashboard) == []


@pytest.mark.parametrize("panel", shipped.panels(), ids=lambda panel: panel["title"])
def test_a_panels_options_are_those_of_its_type(panel: Json) -> None:
    assert _faults(f"{panel['type']}-options", panel["options"]) == []
    if panel["type"] == "timeseries":
        assert _faults("timeseries-field", panel["fieldConfig"]["defaults"]["custom"]) == []


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (["tittle"], "A typing error", "'tittle' was unexpected"),
        (["refresh"], 30, "$.refresh: 30 is not of type 'string'"),
        (["panels", 1, "gridPos", "w"], "5", "$.panels[1]"),
        (["templating", "list", 1, "refresh"], 7, "$.templating.list[1].refresh: 7 is not one of"),
    ],
)
def test_what_grafana_does_not_know_is_noticed(path: list[str | int], value: object, fault: str) -> None:
    dashboard = deepcopy(next(shipped.dashboards()))
    *parents, last = path
    part: Any = dashboard
    for key in parents:
        part = part[key]
    part[last] = value
    assert fault in "\n".join(_faults("dashboard", dashboard))
