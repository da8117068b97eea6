"""Every file of examples/ is run by a test: a test imports it, or imports a file that does."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(path: Path) -> Iterator[str]:
    """Yield the names that a file imports, and those that it runs by ``python -m``."""
    package = _module(path) if path.name == "__init__.py" else _module(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("examples."):
            yield node.value
            yield f"{node.value}.__main__"


def test_every_example_is_run_by_a_test() -> None:
    examples = {_module(path): path for path in (ROOT / "examples").rglob("*.py")}
    found: set[str] = set()
    new = {name for path in (ROOT / "tests").rglob("*.py") for name in _imported(path)} & set(examples)
    while new:
        found |= new
        new = {name for module in new for name in _imported(examples[module])} & set(examples) - found
        new |= {name.rpartition(".")[0] for name in found} & set(examples) - found
    assert len(found) > 30
    assert sorted(set(examples) - found) == []
