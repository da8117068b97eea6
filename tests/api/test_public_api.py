"""The public API is the one that tests/api/public_api.txt lists: nobody changes it by accident."""

import importlib
import pkgutil
import re
from pathlib import Path

import context_async_sqlalchemy
from tools.public_api import LIST, MODULES, public_api

ROOT = Path(__file__).parents[2]


def test_the_public_api_is_the_one_that_is_listed() -> None:
    """If this fails on purpose: ``make api``, and a line in the changelog."""
    assert public_api().splitlines() == LIST.read_text().splitlines()


def test_every_public_module_is_in_the_list() -> None:
    core = {
        f"{context_async_sqlalchemy.__name__}.{module.name}"
        for module in pkgutil.iter_modules(context_async_sqlalchemy.__path__)
        if not module.name.startswith("_")
    }
    adapters = {path.name for path in (ROOT / "adapters").glob("context_async_sqlalchemy_*")}
    assert core | adapters | {context_async_sqlalchemy.__name__} <= set(MODULES)


def test_every_entry_point_is_in_the_list() -> None:
    """The functions that `setup_db` and the published names lead to are public too, by whichever module they come."""
    text = (ROOT / "pyproject.toml").read_text()
    for module, name in re.findall(r'= "(context_async_sqlalchemy_[\w.]+):(\w+)"', text):
        assert f" {name}(" in LIST.read_text(), name
        assert hasattr(importlib.import_module(module), name)


def test_it_is_the_same_on_every_python() -> None:
    """No address of an object and no class that only one version has."""
    assert not re.search(r" at 0x|_Generic|_UnionGeneric", LIST.read_text())
