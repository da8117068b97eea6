"""The README is short and its applications run as they are pasted. All pages are in the index, and have valid code."""

import ast
import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from aiohttp import ClientConnectorError, ClientSession

from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "grafana/**/*.md")
    for path in ROOT.glob(pattern)
)
MOST_WORDS = 800
START_SECONDS = 30.0

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")

_RUN_AIOHTTP = """
import functools, runpy, sys
from aiohttp import web
web.run_app = functools.partial(web.run_app, host="127.0.0.1", port=int(sys.argv[1]))
runpy.run_path("shop.py", run_name="__main__")
"""
# A single process, because the workers that Sanic starts would have its own port.
_RUN_SANIC = """
import functools, runpy, sys
from sanic import Sanic
Sanic.run = functools.partialmethod(Sanic.run, host="127.0.0.1", port=int(sys.argv[1]), single_process=True)
runpy.run_path("shop.py", run_name="__main__")
"""


def _prose(markdown: str) -> str:
    return _FENCE.sub("", markdown)


def _code(language: str) -> list[str]:
    return [code for name, code in _FENCE.findall(README) if name == language]


def _on_sanic(aiohttp: str, sanic: str) -> str:
    """Replace the parts of the application that the README says to replace."""
    common, _ = aiohttp.split("async def place_order")
    assert "from aiohttp import web\n" in common
    return common.replace("from aiohttp import web\n", "") + sanic


APPLICATION, SANIC, *_ = _code("python")


def test_it_is_short() -> None:
    words = [word for word in _LINK.sub("]", _prose(README)).split() if re.search(r"\w", word)]
    assert len(words) <= MOST_WORDS


@contextmanager
def _running(code: str, program: str, folder: Path, port: int) -> Generator[None]:
    (folder / "shop.py").write_text(code)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - the command is ours
            [sys.executable, "-c", program, str(port)],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=START_SECONDS)


@asynccontextmanager
async def _client(port: int, folder: Path) -> AsyncGenerator[ClientSession]:
    async with ClientSession(f"http://127.0.0.1:{port}") as client:
        for _attempt in range(int(START_SECONDS * 20)):
            try:
                await client.get("/metrics")
            except ClientConnectorError:
                await asyncio.sleep(0.05)
            else:
                break
        else:
            pytest.fail((folder / "log").read_text())
        yield client


@pytest.mark.parametrize(
    ("code", "program", "route"),
    [
        (APPLICATION, _RUN_AIOHTTP, "POST /orders/{item}"),
        (_on_sanic(APPLICATION, SANIC), _RUN_SANIC, "POST /orders/<item:str>"),
    ],
    ids=["aiohttp", "sanic"],
)
async def test_the_application_runs_as_it_is_pasted(code: str, program: str, route: str, tmp_path: Path) -> None:
    port = free_port()
    with _running(code, program, tmp_path, port):
        async with _client(port, tmp_path) as client:
            response = await client.post("/orders/tea")
            assert response.status == 201, (tmp_path / "log").read_text()
            assert await response.json() == {"order": 1, "receipt": "receipt 1"}
            metrics = await (await client.get("/metrics")).text()
    with sqlite3.connect(tmp_path / "shop.db") as database:
        assert database.execute("SELECT * FROM orders").fetchall() == [(1, "tea", "receipt 1")]
        assert database.execute("SELECT * FROM events").fetchall() == [(1, 1, "ordered"), (2, 1, "paid")]
    database.close()
    labels = f'db_client_connection_pool_name="shop",route="{route}"'
    assert f'db_session_early_releases_total{{by="commit",{labels}}} 1.0' in metrics
    # The payment takes 0.2 seconds, and the early release gave the connection away for as long.
    saved_sum = re.escape(f"db_session_early_release_saved_seconds_sum{{{labels}}} ")
    (saved,) = re.findall(f"^{saved_sum}(.+)$", metrics, re.MULTILINE)
    assert float(saved) >= 0.2


def test_the_extras_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (installed,) = re.findall(r"pip install '\.\[(.+)\]'", README)
    assert set(installed.split(",")) <= set(extras)
    for extra in extras:
        assert f"`{extra}`" in README


def test_an_extra_asks_for_the_oldest_version_that_is_tested() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (oldest,) = re.findall(r"^OLDEST := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for pin in oldest.split():
        name, _, version = pin.partition("==")
        # Quart, Litestar and Falcon have no extra. docs/frameworks/asgi.md has their versions.
        if name in extras:
            (floor,) = re.findall(rf"^{name}>=([\d.]+)$", "\n".join(extras[name]), re.MULTILINE)
            assert f"{version}.".startswith(f"{floor}."), pin


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(index.read_text())}
    # index.md includes this index on the built site.
    indexes = {index, index.with_name("index.md")}
    pages = {path for path in index.parent.glob("**/*.md") if path.parent.name != "decisions"} - indexes
    assert pages <= linked


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_code_is_valid(document: str) -> None:
    for language, code in _FENCE.findall((ROOT / document).read_text()):
        if language == "python":
            indentation = len(code) - len(code.lstrip(" "))
            lines = [line[indentation:] for line in code.splitlines()]
            # An ellipsis stands for any value.
            ast.parse("\n".join(lines).replace("=…", "=..."))
