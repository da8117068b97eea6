"""The layout of the code: no import circle, arrows down the layers only, and adapters that know the public core alone.

All imports count, those under ``TYPE_CHECKING`` and in functions too: who reads a file follows them as well.
"""

import ast
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = "context_async_sqlalchemy"
ADAPTERS = tuple(sorted(path.parent.name for path in (ROOT / "adapters").glob("*/__init__.py")))

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"__init__"}),
    *(
        frozenset(layer.split(" | "))
        for contract in CONTRACTS
        if contract.get("containers") == [CORE]
        for layer in contract["layers"]
    ),
)
"""The rooms of the core (its modules and packages), from top to bottom. A room imports rooms of lower layers only."""

FLOORS = 7
"""The most rooms that stand on each other."""

FLOORS_IN_A_ROOM = 5
"""The most modules of one room that stand on each other."""

FOR_ADAPTERS = frozenset({"__init__", "adapter_kit", "observer", "retry"})
"""The rooms that an adapter may import. Prometheus takes the SQLSTATEs that are worth a retry from ``retry``."""

Imports = dict[str, set[str]]


def _modules(package: Path) -> dict[str, Path]:
    modules: dict[str, Path] = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def _named(module: str, path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, wherever in the file."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")
            base = above[: len(above) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)


def _imported(module: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the known modules that a file imports, and their packages, which Python imports before them."""
    around = set(_with_packages(module))
    for named in _named(module, path):
        found = [name for name in _with_packages(named) if name in known]
        if found:
            yield found[-1]
            yield from set(found) - around


def _with_packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _imports(modules: Mapping[str, Path], known: Mapping[str, Path]) -> Imports:
    return {module: set(_imported(module, path, known)) - {module} for module, path in modules.items()}


def _room(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def _between(imports: Imports) -> Imports:
    """Return the imports between rooms."""
    rooms: Imports = {_room(module): set() for module in imports}
    for module, imported in imports.items():
        rooms[_room(module)] |= {_room(other) for other in imported} - {_room(module)}
    return rooms


def _floors(imports: Imports) -> int:
    heights: dict[str, int] = {}
    for module in TopologicalSorter(imports).static_order():
        heights[module] = 1 + max((heights[below] for below in imports.get(module, ())), default=0)
    return max(heights.values())


def _faults_of_core(package: Path) -> list[str]:
    modules = _modules(package)
    imports = _imports(modules, modules)
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return [f"a circle of imports: {' -> '.join(reversed(error.args[1]))}"]
    layer_of = {room: number for number, layer in enumerate(LAYERS) for room in layer}
    faults = [f"no layer has {room}" for room in sorted({_room(module) for module in modules} - set(layer_of))]
    faults += [
        f"{module} imports {other}, which is not on a lower layer"
        for module, imported in imports.items()
        for other in sorted(imported)
        if _room(module) != _room(other) and layer_of.get(_room(module), 0) >= layer_of.get(_room(other), len(LAYERS))
    ]
    if not faults and (floors := _floors(_between(imports))) > FLOORS:
        faults.append(f"{floors} floors")
    for room in sorted({_room(module) for module in modules}):
        within = {module: {other for other in imports[module] if _room(other) == room} for module in imports}
        floors = _floors({module: within[module] for module in within if _room(module) == room})
        if floors > FLOORS_IN_A_ROOM:
            faults.append(f"{floors} floors in {room}")
    return faults


def _faults_of_adapters(adapters: Path, core: Path) -> list[str]:
    known_core = _modules(core)
    packages = {name: _modules(adapters / name) for name in ADAPTERS}
    known = {**known_core, **{module: path for modules in packages.values() for module, path in modules.items()}}
    faults: list[str] = []
    for adapter, modules in packages.items():
        for module, imported in _imports(modules, known).items():
            for other in sorted(imported):
                if other in known_core:
                    if _room(other) not in FOR_ADAPTERS:
                        faults.append(f"{module} imports {other}, which is not for adapters")
                elif other.partition(".")[0] != adapter:
                    faults.append(f"{module} imports another adapter: {other}")
    return faults


def test_the_core_has_no_circle_and_no_arrow_up() -> None:
    assert _faults_of_core(ROOT / CORE) == []


def test_adapters_import_the_public_core_and_never_each_other() -> None:
    assert _faults_of_adapters(ROOT / "adapters", ROOT / CORE) == []


def test_import_linter_forbids_adapters_the_same_rooms() -> None:
    (forbidden,) = (contract["forbidden_modules"] for contract in CONTRACTS if contract.get("allow_indirect_imports"))
    assert {_room(module) for module in forbidden} == {room for layer in LAYERS for room in layer} - FOR_ADAPTERS


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Copy the code, so that a fault can be planted in it."""
    for source in (ROOT / CORE, *(ROOT / "adapters" / name for name in ADAPTERS)):
        shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def _plant(path: Path, code: str) -> None:
    path.write_text(f"{path.read_text()}\n{code}\n")


@pytest.mark.parametrize(
    ("where", "code", "fault"),
    [
        (
            "exceptions.py",
            "if TYPE_CHECKING:\n    from ._context.context import Context",
            "a circle of imports: ",
        ),
        ("connect.py", "def late():\n    from .session import db_session", "a circle of imports: "),
        ("observer/records.py", "from . import Observer", "a circle of imports: "),
        ("exceptions.py", "import context_async_sqlalchemy", "a circle of imports: "),
        (
            "_context/rules.py",
            "from context_async_sqlalchemy import _engine_disposal",
            f"{CORE}._context.rules imports {CORE}._engine_disposal, which is not on a lower layer",
        ),
        (
            "_engine_disposal.py",
            "from ._observing.leaks import LeakWatch",
            f"{CORE}._engine_disposal imports {CORE}._observing.leaks, which is not on a lower layer",
        ),
        ("new_room.py", "", "no layer has new_room"),
    ],
)
def test_a_fault_that_is_planted_in_the_core_is_found(copied: Path, where: str, code: str, fault: str) -> None:
    path = copied / CORE / where
    path.touch()
    _plant(path, code)
    assert any(found.startswith(fault) for found in _faults_of_core(copied / CORE))


def test_a_planted_tower_is_found(copied: Path) -> None:
    room = copied / CORE / "_plugins"
    room.mkdir()
    (copied / CORE / "_plugins.py").rename(room / "__init__.py")
    for floor in range(FLOORS_IN_A_ROOM):
        (room / f"floor_{floor}.py").write_text(f"from .floor_{floor - 1} import this" if floor else "")
    _plant(room / "__init__.py", f"from .floor_{FLOORS_IN_A_ROOM - 1} import that")
    assert _faults_of_core(copied / CORE) == [f"{FLOORS_IN_A_ROOM + 1} floors in _plugins"]


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (f"from {CORE}._context.context import Context", f"imports {CORE}._context.context, which is not for adapters"),
        (f"def late():\n    from {CORE} import connect", f"imports {CORE}.connect, which is not for adapters"),
        (f"import {CORE}_asgi.routes", f"imports another adapter: {CORE}_asgi.routes"),
    ],
)
def test_a_fault_that_is_planted_in_an_adapter_is_found(copied: Path, code: str, fault: str) -> None:
    _plant(copied / f"{CORE}_aiohttp" / "resources.py", code)
    assert f"{CORE}_aiohttp.resources {fault}" in _faults_of_adapters(copied, copied / CORE)
