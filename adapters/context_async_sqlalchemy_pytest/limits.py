"""How much of each mistake a test may make, by the options and its marks."""

import argparse
import re
from dataclasses import dataclass, replace

import pytest

MARKS = {
    "db_held_idle": "fail the test if a connection is held idle for longer than max seconds (0.05 or '50ms')",
    "db_nested_checkouts": "fail the test if there are more than max (0) nested checkouts",
    "db_late_tasks": "fail the test if a task uses an ended database context more than max (0) times",
    "db_unclosed_contexts": "fail the test if it leaves more than max (0) database contexts open",
}
"""The marks, with what they do. ``max=None`` allows any number, or any time."""

_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s)?")
_UNSET = object()


class InvalidLimitError(Exception):
    """Raised for an option or a mark that has no possible value."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a test. None means that the mistake is not looked for.

    Attributes:
        held_idle: the seconds for which a connection may be held idle.
        nested_checkouts: how many nested checkouts there may be.
        late_tasks: how many uses of ended contexts there may be.
        unclosed_contexts: how many contexts may be open at the end.

    """

    held_idle: float | None = None
    nested_checkouts: float | None = None
    late_tasks: float | None = None
    unclosed_contexts: float | None = None

    @property
    def is_any(self) -> bool:
        """Whether there is a limit."""
        return self != _NONE


_NONE = Limits()


def seconds_of(text: str) -> float:
    """Return the seconds of a time such as ``50ms``, ``0.5s`` or ``0.5``.

    Raises:
        argparse.ArgumentTypeError: it is no time.

    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 50ms or 0.5s")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


def limits_of_options(config: pytest.Config) -> Limits:
    """Return the limits of all tests that have no mark.

    Raises:
        InvalidLimitError: a setting has no possible value.

    """
    held_idle: float | None = config.getoption("--db-held-idle")
    if held_idle is None and (setting := str(config.getini("db_held_idle") or "")):
        held_idle = _seconds("the setting db_held_idle", setting)
    return Limits(
        held_idle,
        **{
            name: 0 if config.getoption(f"--db-{name.replace('_', '-')}") or config.getini(f"db_{name}") else None
            for name in ("nested_checkouts", "late_tasks", "unclosed_contexts")
        },
    )


def limits_of_item(item: pytest.Item, defaults: Limits) -> Limits:
    """Return the limits of a test: those of its marks, and else the defaults.

    Raises:
        InvalidLimitError: a mark has no possible value.

    """
    changed: dict[str, float | None] = {}
    for mark in item.iter_markers():
        # The nearest mark comes first.
        if mark.name in MARKS and mark.name not in changed:
            changed[mark.name] = _value_of(mark, item.nodeid)
    return replace(defaults, **{name.removeprefix("db_"): value for name, value in changed.items()})


def _value_of(mark: pytest.Mark, where: str) -> float | None:
    said = f"{where}: @pytest.mark.{mark.name}"
    is_time = mark.name == "db_held_idle"
    value: object = mark.kwargs.get("max", _UNSET if is_time else 0)
    if mark.args or set(mark.kwargs) - {"max"} or value is _UNSET:
        raise InvalidLimitError(f"{said} takes max=..., which is {'a time' if is_time else 'a number'} or None")
    if value is None:
        return None
    if is_time:
        if isinstance(value, str):
            return _seconds(said, value)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value)
        raise InvalidLimitError(f"{said}: max={value!r} is no time: write seconds (0.05), '50ms' or None")
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise InvalidLimitError(f"{said}: max={value!r} is no number of mistakes: write 0 or more, or None")


def _seconds(what: str, text: str) -> float:
    try:
        return seconds_of(text)
    except argparse.ArgumentTypeError as error:
        raise InvalidLimitError(f"{what}: {error}") from None
