"""No garbage collector that tidies up behind a defect."""

import gc
from collections.abc import Generator

import pytest


@pytest.fixture(autouse=True)
def no_garbage_collector() -> Generator[None]:
    """Disable the garbage collector during each test."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()
