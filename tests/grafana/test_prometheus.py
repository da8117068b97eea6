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

# The trouble goes on until all of it was seen.
pytestmark = pytest.mark.timeout(180)

_EXEMPLARS = [target for target in shipped.targets() if target.query["exemplar"]]


_OF_A_MISSING_APPLICATION = {"DbMetricsTargetDown", "DbMetricsMissing"}


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

    def is_shown(self, target: Target) -> bool:
        return any(value > 0 for value in self.values(self.substituted(target.query["expr"])))

    def is_answered(self, query: str) -> bool:
        # The trouble lasts for seconds.
        shown = re.sub(r"\[\d+[mh]\]", f"[{math.ceil(self.end - self.start)}s]", query)
        return any(value > 0 for value in self.values(shown))

    def is_noticed(self, rule: Json) -> bool:
        # The trouble lasts for seconds: a minute of the rules is a second. How long they wait is promtool's to test.
        quick = re.sub(r"\b(\d+)m\b", r"\1s", rule["expr"])
        return bool(self.prometheus.values(quick, self.start, self.gone))


class _Watcher:
    """Looks whether the trouble has been seen. A busy machine scrapes late, so some of it can be missed at first."""

    def __init__(self, prometheus: Prometheus, start: float) -> None:
        self._prometheus = prometheus
        self._start = start

    def has_scraped_since(self, instant: float) -> bool:
        found = self._prometheus.get("query", query="timestamp(up) and up == 1")["result"]
        return any(float(series["value"][1]) >= instant for series in found)

    def has_seen_all(self) -> bool:
        now = time.time()
        seen = _Seen(self._prometheus, self._start, now, now, set())
        return (
            all(map(seen.is_shown, shipped.targets()))
            and all(map(seen.is_answered, QUERIES))
            and all(seen.is_noticed(rule) for rule in shipped.rules() if rule["alert"] not in _OF_A_MISSING_APPLICATION)
        )


@pytest.fixture(scope="module")
def seen(prometheus_program: str, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[_Seen]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        with running(prometheus_program, tmp_path_factory.mktemp("prometheus"), target) as prometheus:
            trouble = Trouble(Database(database_url))
            start = time.time()
            end = asyncio.run(trouble.happen(listener, _Watcher(prometheus, start)))
            asyncio.run(until(lambda: bool(prometheus.get("query", query="up == 0")["result"]), "the target is down"))
            yield _Seen(prometheus, start, end, time.time() + SCRAPE_SECONDS, trouble.trace_ids)


@pytest.mark.parametrize("target", shipped.targets(), ids=lambda target: target.name)
def test_a_panel_shows_what_happened(seen: _Seen, target: Target) -> None:
    assert seen.is_shown(target)


def test_the_picture_of_the_documentation_has_something_in_each_panel(seen: _Seen) -> None:
    panels = overview(seen.prometheus.url, seen.start, seen.end, SCRAPE_SECONDS).panels
    empty = [panel.definition["title"] for panel in panels if panel.definition["type"] != "row" and not panel.series]
    assert panels
    assert not empty


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_about_the_size_of_a_pool_has_an_answer(seen: _Seen, query: str) -> None:
    assert seen.is_answered(query)


@pytest.mark.parametrize("name", shipped.variable_queries())
def test_a_variable_has_values(seen: _Seen, name: str) -> None:
    assert seen.values(seen.substituted(shipped.variable_queries()[name]))


@pytest.mark.parametrize("rule", shipped.rules(), ids=lambda rule: rule["alert"])
def test_an_alert_notices_what_happened(seen: _Seen, rule: Json) -> None:
    assert seen.is_noticed(rule)


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
