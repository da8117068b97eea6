"""The tutorials work as they are written: their files are saved, their commands typed, their outputs compared."""

import re
import shutil
import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from tests.docs.transcripts import ROOT, Reader

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs Debian's package curl")

EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


@pytest.mark.timeout(240)  # A page starts six or seven processes, which is slow on a busy machine.
@pytest.mark.parametrize(("page", "port"), [("aiohttp", "8080"), ("sanic", "8000"), ("fastapi", "8000")])
def test_a_tutorial_works_as_it_is_written(page: str, port: str, tmp_path: Path) -> None:
    text = (ROOT / f"docs/start/{page}.md").read_text()
    (extras,) = re.findall(r"pip install '\.\[(.+)\]'", text)
    assert set(extras.split(",")) <= EXTRAS
    assert Reader(tmp_path, port).follow(text) == 19


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("page", "options"),
    [("aiohttp", "--bind localhost:8080"), ("sanic", "--port 8080"), ("fastapi", "--port 8080")],
)
def test_several_workers_serve_the_application_of_a_tutorial(page: str, options: str, tmp_path: Path) -> None:
    (code,) = re.findall(
        r"as `shop.py`:\n\n```python\n(.*?)```", (ROOT / f"docs/start/{page}.md").read_text(), re.DOTALL
    )
    (tmp_path / "shop.py").write_text(code)
    # Two workers that create it at once would be in each other's way.
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL, receipt TEXT)")
    deploy = (ROOT / "docs/how-to/deploy.md").read_text()
    program = {"aiohttp": "gunicorn", "sanic": "sanic", "fastapi": "uvicorn"}[page]
    (command,) = re.findall(rf"`({program} .*--workers) 4`", deploy)
    steps = [f"{command} 2 {options}", "curl -s -X POST localhost:8080/orders/tea", "curl -s localhost:8080/orders"]
    lines = "\n".join(steps)
    assert Reader(tmp_path).follow(f'```sh\n{lines}\n```\n\n```text\n…\n["tea"]\n```\n') == 2
