"""A test of a project that does not use the plugin."""

import sys

import pytest


def test_nothing_is_imported(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.pluginmanager.has_plugin("context_async_sqlalchemy")
    assert not pytestconfig.pluginmanager.has_plugin("context_async_sqlalchemy_watching")
    assert {"sqlalchemy", "context_async_sqlalchemy"}.isdisjoint(sys.modules)
