"""An application for a test, and a framework that the next test finds as it was."""

from collections.abc import Generator
from typing import Any

import pytest
from sanic import Sanic


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Generator[Any]:
    # sanic-testing's clients set both, for all applications.
    sanic: Any = Sanic
    monkeypatch.setattr(sanic, "test_mode", False)
    monkeypatch.setattr(sanic, "__call__", sanic.__call__)
    app: Any = Sanic("set-up", configure_logging=False)
    # Sanic rewrites its own methods at start, and cannot do so twice in one process.
    app.config.TOUCHUP = False
    app.config.AUTO_EXTEND = False
    yield app
    app.unregister_app(app)
