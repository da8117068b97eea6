"""Shell lines of the pages: their targets, modules, files and extras exist. Alembic's lines are typed."""

import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.transcripts import ROOT, Reader

DOCUMENTS = sorted(path for pattern in ("*.md", "docs/**/*.md", "grafana/**/*.md") for path in ROOT.glob(pattern))
_SHELL = re.compile(r"^ *```(?:sh|console)?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")


def _lines(document: Path) -> Iterator[str]:
    """Yield everything that may be a command: the lines of blocks without a language, and code in the text."""
    text = document.read_text()
    for block in _SHELL.findall(text):
        yield from block.splitlines()
    yield from _INLINE.findall(re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL))


def _targets() -> set[str]:
    return set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _is_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_of_the_repository_exists(document: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    unknown: list[str] = []
    for line in _lines(document):
        command = line.strip()
        if make := re.match(r"(?:[A-Z_]+=\S+ )*make ([a-z][\w-]*)", command):
            unknown += [command] * (make[1] not in _targets())
        if module := re.search(r"python -m ((?:tools|tests|examples|context_async_sqlalchemy\w*)[\w.]*)", command):
            unknown += [command] * (not _is_module(module[1]))
        if asked := re.search(r"pip install '\.\[([\w,]+)\]", command):
            unknown += [command] * (not set(asked[1].split(",")) <= set(extras))
        if (file := re.match(r"\.ci/[\w-]+", command)) and not (ROOT / file[0]).exists():
            unknown.append(command)
    assert unknown == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_page_asks_an_index_for_the_library(document: Path) -> None:
    # An index has another library of this name: the published one.
    name = r"context[-_]async[-_]sqlalchemy(?![\w/*-]|\.\w)"
    asked = rf"(?:pip|uv|poetry|pipx|pdm)\b.*\b(?:install|add)\b.*{name}|{name}\[|{name} *(?:[=<>~]=|@)"
    assert [line for line in document.read_text().splitlines() if re.search(asked, line)] == []


def test_the_documents_have_commands() -> None:
    commands = [
        line for document in DOCUMENTS for line in _lines(document) if line.startswith(("make ", "pip install"))
    ]
    assert len(commands) > 20


@pytest.mark.timeout(120)  # Three processes of Alembic.
def test_the_migrations_of_create_tables_work(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/create-tables.md").read_text()
    (commands,) = re.findall(r"```sh\n(alembic.*?)```", page, re.DOTALL)
    (change,) = re.findall(r"```python\n(config\.set_main_option.*?)```", page, re.DOTALL)
    url, metadata = change.splitlines()
    initialize, *migrate = commands.splitlines()
    reader = Reader(tmp_path)
    reader.type(initialize)
    environment = tmp_path / "migrations/env.py"
    text = environment.read_text()
    assert text.count("config = context.config\n") == text.count("target_metadata = None\n") == 1
    text = text.replace("config = context.config\n", f"config = context.config\n{url}\n")
    environment.write_text(f"import os\nfrom models import Base\n{text.replace('target_metadata = None', metadata)}")
    (tmp_path / "models.py").write_text(
        "from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column\n\n\n"
        "class Base(DeclarativeBase):\n    pass\n\n\n"
        "class Order(Base):\n    __tablename__ = 'orders'\n    id: Mapped[int] = mapped_column(primary_key=True)\n"
    )
    for command in migrate:
        reader.type(f"export DATABASE_URL=sqlite+aiosqlite:///shop.db PYTHONPATH=.; {command}")
    assert "orders" in "".join(path.read_text() for path in (tmp_path / "migrations/versions").glob("*_orders.py"))
    assert (tmp_path / "shop.db").exists()
