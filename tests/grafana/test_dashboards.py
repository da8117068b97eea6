"""The dashboards as files: made from their source, complete, and about metrics that exist."""

import re
from itertools import combinations

import pytest

from grafana.builder.dashboard import FOLDER, as_text
from grafana.builder.overview import OVERVIEW
from grafana.builder.panel import DATASOURCE
from tests.grafana import shipped
from tests.grafana.promql import grouping_labels, legend_labels, selectors
from tests.grafana.shipped import Json, Target

_OF_TARGET = {"job", "instance"}
_MEASURED = shipped.measured()
_EXPRESSIONS = shipped.expressions()


def test_the_dashboards_are_what_their_source_makes() -> None:
    assert [path.stem for path in shipped.DASHBOARDS] == [OVERVIEW.name]
    assert (FOLDER / f"{OVERVIEW.name}.json").read_text() == as_text(OVERVIEW), "make dashboards"


@pytest.mark.parametrize("dashboard", list(shipped.dashboards()), ids=lambda dashboard: dashboard["uid"])
def test_a_dashboard_can_be_linked_to_and_is_not_edited_by_accident(dashboard: Json) -> None:
    assert re.fullmatch(r"context-async-sqlalchemy-[a-z-]{1,15}", dashboard["uid"])
    assert dashboard["editable"] is False
    assert dashboard["id"] is None
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert names == ["datasource", "job", "instance", "pool", "route", "inspector"]
    # A process has the page at its own address, which Prometheus need not know.
    assert [link["url"] for link in dashboard["links"]] == ["${inspector}"]
    identities = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identities)) == len(identities)
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("panel", shipped.panels(), ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_what_is_healthy(panel: Json) -> None:
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert re.search(r"[Hh]ealthy|Higher is better", panel["description"]), panel["description"]
    assert panel["datasource"] == DATASOURCE
    assert all(query["datasource"] == DATASOURCE for query in panel["targets"])


@pytest.mark.parametrize("dashboard", list(shipped.dashboards()), ids=lambda dashboard: dashboard["uid"])
def test_panels_do_not_overlap(dashboard: Json) -> None:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)


@pytest.mark.parametrize("target", shipped.targets(), ids=lambda target: target.name)
def test_a_query_follows_the_variables(target: Target) -> None:
    expression = target.query["expr"]
    for metric, _ in selectors(expression):
        labels = {"job", "instance", "db_client_connection_pool_name", "route"} & (_MEASURED[metric] | _OF_TARGET)
        found = re.findall(rf"{metric}\{{([^}}]*)\}}", expression)
        assert found
        for matchers in found:
            # Some panels show all routes: they are about the pool.
            assert labels - {"route"} <= set(re.findall(r'(\w+)=~"\$\w+"', matchers)) <= labels
    ranges = re.findall(r"(rate|increase)\([^[]*\[([^]]*)\]", expression)
    assert {window for function, window in ranges if function == "rate"} <= {"$__rate_interval"}
    assert {window for function, window in ranges if function == "increase"} <= {"$__range"}


@pytest.mark.parametrize("name", _EXPRESSIONS)
def test_every_metric_and_label_is_one_that_is_measured(name: str) -> None:
    expression = _EXPRESSIONS[name]
    found = selectors(expression)
    assert found
    for metric, labels in found:
        assert metric in _MEASURED, f"{name}: nobody measures {metric}"
        assert labels <= _MEASURED[metric] | _OF_TARGET, f"{name}: {metric} has no such labels"
    known = set[str]().union(*(_MEASURED[metric] for metric, _ in found))
    assert grouping_labels(expression) <= known | _OF_TARGET


@pytest.mark.parametrize("panel", shipped.panels(), ids=lambda panel: panel["title"])
def test_the_course_of_a_histogram_shows_traces_once(panel: Json) -> None:
    with_traces = [query for query in panel["targets"] if query["exemplar"]]
    of_histograms = [query for query in panel["targets"] if "histogram_quantile" in query["expr"]]
    assert all(query in of_histograms for query in with_traces)
    assert len(with_traces) == bool(of_histograms and panel["type"] == "timeseries")


@pytest.mark.parametrize("target", shipped.targets(), ids=lambda target: target.name)
def test_a_legend_names_labels_that_the_result_has(target: Target) -> None:
    assert legend_labels(target.query["legendFormat"]) <= grouping_labels(target.query["expr"])


def test_a_metric_that_nobody_measures_is_noticed() -> None:
    """A metric that is renamed must fail here: the checks above find names at all."""
    (found,) = selectors('sum by (le, route) (rate(db_client_renamed_bucket{job=~"$job", colour="red"}[5m]))')
    assert found == ("db_client_renamed_bucket", {"job", "colour"})
    assert found.metric not in _MEASURED


@pytest.mark.parametrize("target", shipped.targets(), ids=lambda target: target.name)
def test_a_counter_is_never_shown_as_it_is(target: Target) -> None:
    expression = target.query["expr"]
    for selected in re.finditer(r"\b\w+_(?:total|bucket|sum|seconds_count)\{[^}]*\}", expression):
        # In a range; or one of the two halves of "what was not there before".
        assert expression[selected.end() :].startswith(("[", " unless ", " offset ")), selected[0]
