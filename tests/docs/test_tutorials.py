"""The tutorials work as they are written: their files are saved, their commands typed, their outputs compared."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.transcripts import ROOT, Reader

EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


@pytest.mark.timeout(240)  # A page starts six or seven processes, which is slow on a busy machine.
@pytest.mark.parametrize(("page", "port"), [("aiohttp", "8080"), ("sanic", "8000"), ("fastapi", "8000")])
def test_a_tutorial_works_as_it_is_written(page: str, port: str, tmp_path: Path) -> None:
    text = (ROOT / f"docs/start/{page}.md").read_text()
    (extras,) = re.findall(r"pip install '\.\[(.+)\]'", text)
    assert set(extras.split(",")) <= EXTRAS
    assert Reader(tmp_path, port).follow(text) == 19
