"""The queries of docs/how-to/size-your-pool.md are about series that exist, by labels that they have."""

import re
from pathlib import Path

import pytest

from tests.grafana import shipped
from tests.grafana.promql import grouping_labels, selectors

DOCUMENT = Path(__file__).parents[2] / "docs" / "how-to" / "size-your-pool.md"
QUERIES = re.findall(r"^```promql\n(.*?)\n```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
_MEASURED = shipped.measured()


def test_there_are_queries() -> None:
    assert len(QUERIES) >= 5


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_about_series_that_exist(query: str) -> None:
    metrics = [selector.metric for selector in selectors(query)]
    assert metrics
    for metric in metrics:
        assert grouping_labels(query) <= _MEASURED[metric]
