"""No garbage collector that tidies up behind a defect."""

import gc
from collections.abc import Generator

import pytest


@pytest.fixture(autouse=True)
def no_garbage_collector() -> Generator[None]:
    """Disable the garbage collector during each test.

    What is alive before a test is left out of later collections. After thousands of tests in one process, a single
    collection would otherwise take longer than many a test.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.collect()
