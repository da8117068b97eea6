"""A mark that makes no sense."""

import pytest


@pytest.mark.db_held_idle(max=-1)
def test_never_runs() -> None:
    pass
