"""An observer with a registry of its own."""

import pytest
from prometheus_client import CollectorRegistry

from context_async_sqlalchemy_prometheus import PrometheusObserver


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def observer(registry: CollectorRegistry) -> PrometheusObserver:
    return PrometheusObserver(registry)
