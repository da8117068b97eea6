"""The limits of a test, by options and marks."""

import argparse
from types import SimpleNamespace
from typing import Any

import pytest

from context_async_sqlalchemy_pytest.limits import InvalidLimitError, Limits, limits_of_item, seconds_of


def _item(*marks: pytest.MarkDecorator) -> Any:
    return SimpleNamespace(nodeid="test_shop.py::test_order", iter_markers=lambda: [each.mark for each in marks])


@pytest.mark.parametrize(
    ("text", "seconds"), [("50ms", 0.05), ("0.5s", 0.5), ("2", 2.0), (" 1.5ms ", 0.0015), ("0", 0.0)]
)
def test_a_time_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "ms", "50m", "-1s", "1,5s", "one"])
def test_any_other_text_is_no_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no time: write 50ms or 0\.5s"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("marks", "limits"),
    [
        ((), Limits(0.05, 0)),
        ((pytest.mark.timeout(3),), Limits(0.05, 0)),
        ((pytest.mark.db_held_idle(max=1),), Limits(1.0, 0)),
        ((pytest.mark.db_held_idle(max="5ms"), pytest.mark.db_held_idle(max=1)), Limits(0.005, 0)),
        ((pytest.mark.db_held_idle(max=None), pytest.mark.db_nested_checkouts(max=None)), Limits()),
        ((pytest.mark.db_late_tasks, pytest.mark.db_unclosed_contexts(max=2)), Limits(0.05, 0, 0, 2)),
    ],
)
def test_the_nearest_mark_replaces_the_option(marks: tuple[pytest.MarkDecorator, ...], limits: Limits) -> None:
    assert limits_of_item(_item(*marks), Limits(0.05, 0)) == limits


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (pytest.mark.db_held_idle, "takes max=..., which is a time or None"),
        (pytest.mark.db_held_idle(0.05), "takes max=..., which is a time or None"),
        (pytest.mark.db_held_idle(limit=1), "takes max=..., which is a time or None"),
        (pytest.mark.db_held_idle(max=True), "max=True is no time"),
        (pytest.mark.db_held_idle(max="soon"), "'soon' is no time: write 50ms or 0.5s"),
        (pytest.mark.db_late_tasks(most=1), "takes max=..., which is a number or None"),
        (pytest.mark.db_late_tasks(max=-1), "max=-1 is no number of mistakes: write 0 or more, or None"),
        (pytest.mark.db_late_tasks(max=0.5), "max=0.5 is no number of mistakes"),
    ],
)
def test_a_mark_that_makes_no_sense_names_its_test(mark: pytest.MarkDecorator, message: str) -> None:
    with pytest.raises(InvalidLimitError) as caught:
        limits_of_item(_item(mark), Limits())
    assert str(caught.value).startswith(f"test_shop.py::test_order: @pytest.mark.{mark.name}")
    assert message in str(caught.value)
