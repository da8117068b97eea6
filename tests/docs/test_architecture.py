"""docs/explanation/architecture.md: its paths exist, and the floors that it draws are those of the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/explanation/architecture.md").read_text()
CORE = "context_async_sqlalchemy"


def _floors() -> dict[str, int]:
    floors: dict[str, int] = {}
    for number, body in re.findall(r"subgraph floor(\d) .*?\n(.*?)\n    end", DOCUMENT, re.DOTALL):
        floors |= {str(room): int(number) for room in re.findall(r'\["(\w+)"\]', body)}
    return floors


def _drawn() -> set[tuple[str, str]]:
    room_of = dict(re.findall(r'(\w+)\["(\w+)"\]', DOCUMENT))
    return {(room_of[source], room_of[target]) for source, target in re.findall(r"(\w+) --> (\w+)", DOCUMENT)}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def _imported(path: Path) -> Iterator[str]:
    """Yield the modules of the core that a file of it imports, those for annotations included."""
    package = ".".join(path.relative_to(ROOT).parent.parts).split(".")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            if module == CORE:
                yield from (f"{CORE}.{alias.name}" if _is_module(alias.name) else CORE for alias in node.names)
            elif module.startswith(f"{CORE}."):
                yield module


def _is_module(name: str) -> bool:
    return (ROOT / CORE / f"{name}.py").exists() or (ROOT / CORE / name).is_dir()


def _imports() -> set[tuple[str, str]]:
    imports: set[tuple[str, str]] = set()
    for path in (ROOT / CORE).rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        imports |= {(_room(module), _room(imported)) for imported in _imported(path)}
    return {(source, target) for source, target in imports if source != target}


def test_every_path_in_the_document_exists() -> None:
    paths = re.findall(r"`((?:adapters|context_async_sqlalchemy|tests|docs)/[\w/.-]+)`", DOCUMENT)
    assert len(paths) > 40
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_document_has_every_room() -> None:
    rooms = {path.stem for path in (ROOT / CORE).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(_floors()) == rooms


def test_every_import_goes_down() -> None:
    floors = _floors()
    assert [each for each in sorted(_imports()) if floors[each[0]] <= floors[each[1]]] == []


def test_every_arrow_is_an_import() -> None:
    assert _drawn()
    assert _drawn() - _imports() == set()
