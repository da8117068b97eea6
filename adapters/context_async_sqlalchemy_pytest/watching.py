"""The hooks around each test, which are registered only if a test has a limit."""

from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from context_async_sqlalchemy.adapter_kit import observe_process

from .findings import Finding
from .limits import Limits
from .observer import MistakeObserver

_SHOWN = 10


class Watching:
    """Fails the tests that go over their limits.

    Args:
        limits: the limits of each test.
        root: the folder by which files are named.

    """

    def __init__(self, limits: Mapping[pytest.Item, Limits], root: Path) -> None:
        self._limits = limits
        self._observer = MistakeObserver(root)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Observe the process while a test with a limit runs, from its fixtures to their end."""
        if not self._limits_of(item).is_any:
            return (yield)
        stop = observe_process(self._observer)
        try:
            return (yield)
        finally:
            stop()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Watch the test; fail it if it goes over a limit."""
        self._observer.begin(self._limits_of(item))
        try:
            result = yield
        except BaseException:
            _add(item, "call", self._observer.end_call())
            raise
        _fail(self._observer.end_call())
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Watch what the test has left behind, until its servers and clients are closed."""
        try:
            result = yield
        except BaseException:
            _add(item, "teardown", self._observer.end())
            raise
        _fail(self._observer.end())
        return result

    def _limits_of(self, item: pytest.Item) -> Limits:
        return self._limits.get(item, Limits())


def _add(item: pytest.Item, when: str, findings: list[Finding]) -> None:
    if findings:
        item.add_report_section(when, "database sessions", _text_of(findings))


def _fail(findings: list[Finding]) -> None:
    if findings:
        pytest.fail(_text_of(findings), pytrace=False)


def _text_of(findings: list[Finding]) -> str:
    shown = [f"* {finding}" for finding in findings[:_SHOWN]]
    if len(findings) > _SHOWN:
        shown.append(f"* and {len(findings) - _SHOWN} more")
    return "\n".join(shown)
