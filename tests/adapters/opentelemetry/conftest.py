"""What the spans' tests have in common."""

from collections.abc import Generator

import pytest

from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver

from .traces import Traces


@pytest.fixture
def traces() -> Generator[Traces]:
    """Give the test spans to look into."""
    traces = Traces()
    yield traces
    traces.provider.shutdown()


@pytest.fixture
def observer(traces: Traces) -> OpenTelemetryObserver:
    """Give the test an observer that records all spans there."""
    return OpenTelemetryObserver(tracer_provider=traces.provider)
