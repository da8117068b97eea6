"""The programs of Debian's package ``prometheus``."""

import shutil

import pytest


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        # In CI a skipped test is a failure.
        pytest.skip(f"{name} is missing: apt-get install --no-install-recommends prometheus")
    return path


@pytest.fixture(scope="session")
def promtool() -> str:
    return _program("promtool")


@pytest.fixture(scope="session")
def prometheus_program() -> str:
    return _program("prometheus")
