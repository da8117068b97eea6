"""Every query of the dashboards and every alert, executed by a real Prometheus that has scraped a troubled application.

A query that is wrong, or shows nothing of a trouble that was there, fails.
"""

import asyncio
import math
import re
import socket
import time
from collections.abc import Generator
from dataclasses import dataclass

import pytest

from grafana.variables import substituted
from tests.grafana import shipped
from tests.grafana.prometheus import SCRAPE_SECONDS, Prometheus, running
from tests.grafana.shipped import Json, Target
from tests.grafana.test_pool_size import QUERIES
from tests.grafana.troubled import Trouble
from tests.support.database import Database
from tests.support.waiting import until
from tools.pictures.dashboard import overview

_EXEMPLARS = [target for target in shipped.targets() if target.query["exemplar"]]


@dataclass(frozen=True)
class _Seen:
    """What Prometheus has seen of the trouble, from its start to its end, and until the application was gone."""

    prometheus: Prometheus
    start: float
    end: float
    gone: float
    trace_ids: set[str]

    def values(self, expression: str) -> list[float]:
        return self.prometheus.values(expression, self.start, self.end)

    def substituted(self, expression: str) -> str:
        (dashboard,) = shipped.dashboards()
        shown = math.ceil(self.end - self.start)
        return substituted(expression, dashboard, scrape_seconds=SCRAPE_SECONDS, range_seconds=shown)


@pytest.fixture(scope="module")
def seen(prometheus_program: str, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[_Seen]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        with running(prometheus_program, tmp_path_factory.mktemp("prometheus"), target) as prometheus:
            trouble = Trouble(Database(database_url))
            start = time.time()
            # Prometheus takes five seconds before it looks at a target for the first time.
            asyncio.run(trouble.happen(listener, lambda: bool(prometheus.get("query", query="up")["result"])))
            end = time.time()
            asyncio.run(until(lambda: bool(prometheus.get("query", query="up == 0")["result"]), "the target is down"))
            yield _Seen(prometheus, start, end, time.time() + SCRAPE_SECONDS, trouble.trace_ids)


@pytest.mark.parametrize("target", shipped.targets(), ids=lambda target: target.name)
def test_a_panel_shows_what_happened(seen: _Seen, target: Target) -> None:
    assert any(value > 0 for value in seen.values(seen.substituted(target.query["expr"])))


def test_the_picture_of_the_documentation_has_something_in_each_panel(seen: _Seen) -> None:
    panels = overview(seen.prometheus.url, seen.start, seen.end).panels
    assert all(bool(panel.series) == (panel.definition["type"] != "row") for panel in panels)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_about_the_size_of_a_pool_has_an_answer(seen: _Seen, query: str) -> None:
    # The trouble lasts for seconds.
    shown = re.sub(r"\[\d+[mh]\]", f"[{math.ceil(seen.end - seen.start)}s]", query)
    assert any(value > 0 for value in seen.values(shown))


@pytest.mark.parametrize("name", shipped.variable_queries())
def test_a_variable_has_values(seen: _Seen, name: str) -> None:
    assert seen.values(seen.substituted(shipped.variable_queries()[name]))


@pytest.mark.parametrize("rule", shipped.rules(), ids=lambda rule: rule["alert"])
def test_an_alert_notices_what_happened(seen: _Seen, rule: Json) -> None:
    # The trouble lasts for seconds: a minute of the rules is a second here. How long they wait is promtool's to test.
    quick = re.sub(r"\b(\d+)m\b", r"\1s", rule["expr"])
    assert seen.prometheus.values(quick, seen.start, seen.gone)


def test_the_first_unknown_commit_of_a_route_is_an_increase(seen: _Seen) -> None:
    values = seen.values('db_session_transaction_duration_seconds_count{route="GET /commit", outcome="unknown"}')
    assert values[0] == 0
    assert values[-1] > 0


def test_prometheus_has_loaded_all_rules(seen: _Seen) -> None:
    (group,) = seen.prometheus.get("rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in shipped.rules()]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}


@pytest.mark.parametrize("target", _EXEMPLARS, ids=lambda target: target.name)
def test_a_point_on_a_panel_leads_to_a_trace(seen: _Seen, target: Target) -> None:
    expression = seen.substituted(target.query["expr"])
    found = seen.prometheus.get("query_exemplars", query=expression, start=seen.start, end=seen.end)
    exemplars = [exemplar for series in found for exemplar in series["exemplars"]]
    assert exemplars
    assert {exemplar["labels"]["trace_id"] for exemplar in exemplars} <= seen.trace_ids
