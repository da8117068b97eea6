"""The API reference has every public name, and no other."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
CORE = "context_async_sqlalchemy"
PAGES = sorted((ROOT / "docs/reference").glob("api*.md"))
MODULES = [
    CORE,
    f"{CORE}.observer",
    f"{CORE}.adapter_kit",
    *(f"{CORE}_{adapter}" for adapter in ("aiohttp", "asgi", "opentelemetry", "prometheus", "pytest", "sanic")),
]
# The modules of the published library that have names which the root has not.
PUBLISHED = {f"{CORE}.test_utils"}
# The API of the adapters names these with their own type; see ASGIHTTPDBSessionMiddleware there.
IN_ADAPTERS = {f"{CORE}.ASGIHTTPDBSessionMiddleware"}
ENTRIES = re.findall(
    r"^\.\. auto(?:function|class|exception|data):: ([\w.]+)$", "".join(p.read_text() for p in PAGES), re.MULTILINE
)
DOCUMENTED = set(ENTRIES)


def _own_functions(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_documented(name: str) -> None:
    offered = {f"{name}.{each}" for each in importlib.import_module(name).__all__}
    assert offered - DOCUMENTED - IN_ADAPTERS == set()


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_function_of_a_published_module_is_documented(name: str) -> None:
    offered = {f"{name}.{each}" for each in _own_functions(importlib.import_module(name))}
    assert offered - DOCUMENTED == set()


def test_no_name_is_documented_twice() -> None:
    assert sorted(name for name in DOCUMENTED if ENTRIES.count(name) > 1) == []


def test_no_documented_name_is_missing() -> None:
    missing: list[str] = []
    for documented in DOCUMENTED:
        module, _, name = documented.rpartition(".")
        if not hasattr(importlib.import_module(module), name):
            missing.append(documented)
    assert missing == []
