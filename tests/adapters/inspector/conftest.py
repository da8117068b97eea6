"""What several tests of the inspector need."""

import pytest


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each look be one of its own."""
    monkeypatch.setattr("context_async_sqlalchemy_inspector.inspector._FRESH", 0.0)
