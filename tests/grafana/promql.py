"""What a PromQL expression names."""

import re
from typing import NamedTuple

_SELECTOR = re.compile(r"\b(db_(?:client|session)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\(([^)]*)\)")
_LEGEND = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")


class Selector(NamedTuple):
    """A metric, and the labels that it is selected by."""

    metric: str
    labels: set[str]


def selectors(expression: str) -> list[Selector]:
    # Labels in a grouping may have names like a metric's.
    ungrouped = _GROUPING.sub("", expression)
    return [Selector(metric, set(_MATCHER.findall(matchers))) for metric, matchers in _SELECTOR.findall(ungrouped)]


def grouping_labels(expression: str) -> set[str]:
    return {label.strip() for labels in _GROUPING.findall(expression) for label in labels.split(",") if label.strip()}


def legend_labels(text: str) -> set[str]:
    return set(_LEGEND.findall(text))
