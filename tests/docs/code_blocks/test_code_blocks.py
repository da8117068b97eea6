"""Every Python block of the README and of all pages runs, on a real PostgreSQL."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from sanic import Sanic
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.docs.code_blocks.evaluation import execute_blocks
from tests.docs.code_blocks.names import SCHEMA, Base, Shop

ROOT = Path(__file__).parents[3]
# tests/docs/test_tutorials.py runs the tutorials as a reader does.
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "grafana/**/*.md")
    for path in ROOT.glob(pattern)
    if "```python" in path.read_text() and path.parent.name != "start"
)


@pytest.fixture(scope="module")
def tables(database_url: str) -> Generator[str]:
    async def create() -> None:
        engine = create_async_engine(database_url)
        async with engine.begin() as connection:
            await connection.execute(text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
            await connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
            await connection.run_sync(Base.metadata.create_all)
        await engine.dispose()

    async def drop() -> None:
        engine = create_async_engine(database_url)
        async with engine.begin() as connection:
            await connection.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))
        await engine.dispose()

    asyncio.run(create())
    yield database_url
    asyncio.run(drop())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_blocks_of_a_page_run(page: Path, tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sanic: Any = Sanic
    # Several pages make a Sanic application of the same name.
    monkeypatch.setattr(sanic, "test_mode", True)
    # Sanic's asgi_client replaces it for all applications, and the one that it puts there knows no lifespan.
    monkeypatch.setattr(sanic, "__call__", sanic.__call__)
    monkeypatch.setenv("SANIC_TOUCHUP", "false")
    shop = Shop(tables)
    asyncio.run(shop.empty())
    with asyncio.Runner() as runner:
        try:
            execute_blocks(page, shop.names(), runner)
        finally:
            runner.run(shop.connection.close())


def test_a_block_that_fails_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nimport asyncio\n\nawait asyncio.sleep(0)\nassert not name\n```\n")
    with asyncio.Runner() as runner:
        execute_blocks(page, {"name": ""}, runner)
        with pytest.raises(AssertionError) as failure:
            execute_blocks(page, {"name": "x"}, runner)
    assert failure.tb.tb_next is not None
    lines = [entry.lineno for entry in failure.traceback if str(entry.path) == str(page)]
    assert lines == [6]


def test_a_skipped_block_is_compiled(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('<!--- skip: next "it has no end" -->\n\n```python\nwhile True:\n    pass\n```\n')
    with asyncio.Runner() as runner:
        execute_blocks(page, {}, runner)
        page.write_text(page.read_text().replace("pass", "pass)"))
        with pytest.raises(SyntaxError):
            execute_blocks(page, {}, runner)
