"""``docs/explanation/architecture.md`` has every private name of another project that the code leans on, and no other.

A name counts as private if it begins with an underscore, or if the code replaces it on an object of another project.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "explanation" / "architecture.md"
SECTION = "\n## Private names of other libraries\n"
SOURCES = sorted([*ROOT.glob("context_async_sqlalchemy/**/*.py"), *ROOT.glob("adapters/*/**/*.py")])
OURS = "context_async_sqlalchemy"

SETTERS = frozenset({"_replace", "delattr", "setattr"})
"""Functions that replace an attribute, given its name."""

NAMESPACES = frozenset({"ctx", "state"})
"""Attributes that frameworks have for the attributes of others."""

DOCUMENTED = frozenset({"data"})
"""Attributes that their project documents to be set: Falcon's ``Response.data``."""

Names = set[tuple[str, str]]


class _Defined:
    """The names that one file defines.

    Attributes:
        methods: functions, wherever they are, and classes.
        attributes: set on ``self``, or slots.
        variables: of classes and of modules.

    """

    def __init__(self, tree: ast.AST) -> None:
        self.methods: set[str] = set()
        self.attributes: set[str] = set()
        self.variables: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.Module):
                for inner in node.body:
                    self._define_in_body(inner)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
                self.attributes.add(node.attr)

    def _define_in_body(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self.methods.add(node.name)
        elif isinstance(node, ast.Assign):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            self.variables |= names
            if "__slots__" in names:
                self.attributes |= {str(part.value) for part in ast.walk(node.value) if isinstance(part, ast.Constant)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            self.variables.add(node.target.id)


class _Search(ast.NodeVisitor):
    """Finds the names of other projects in one file.

    Args:
        here: the names that the file defines.
        anywhere: the names that any file defines: a base class may be in another one.

    """

    def __init__(self, here: _Defined, anywhere: list[_Defined]) -> None:
        self.found: set[str] = set()
        self._ours_on_others = here.methods | here.attributes
        self._ours_on_self = {
            name for defined in anywhere for name in defined.methods | defined.attributes | defined.variables
        }
        self._settable = {name for defined in anywhere for name in defined.attributes | defined.variables}

    def visit_Attribute(self, node: ast.Attribute) -> None:
        ours = self._ours_on_self if _is_self(node.value) else self._ours_on_others
        is_in_namespace = isinstance(node.value, ast.Attribute) and node.value.attr in NAMESPACES
        is_replaced = not isinstance(node.ctx, ast.Load) and node.attr not in self._settable | DOCUMENTED
        if (_is_private(node.attr) and node.attr not in ours) or (is_replaced and not is_in_namespace):
            self.found.add(node.attr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        literals = {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
        self.found |= literals if function in SETTERS else set()
        self.found |= {name for name in literals if function in {"getattr", "hasattr"} and _is_private(name)}
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        """Look at the namespaces of classes that are made by ``type()``."""
        keys = {str(key.value) for key in node.keys if isinstance(key, ast.Constant)}
        self.found |= {name for name in keys if _is_private(name)}
        self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        names = {*(alias.name for alias in node.names), *(node.module or "").split(".")}
        if not node.level and not (node.module or "").startswith(OURS):
            self.found |= {name for name in names if _is_private(name)}


def _is_private(name: str) -> bool:
    return re.fullmatch(r"_[a-z]\w*|__code__", name) is not None


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def _names_in(sources: dict[str, str]) -> Names:
    trees = {file: ast.parse(source) for file, source in sources.items()}
    defined = {file: _Defined(tree) for file, tree in trees.items()}
    found: Names = set()
    for file, tree in trees.items():
        search = _Search(defined[file], list(defined.values()))
        search.visit(tree)
        found |= {(name, file) for name in search.found}
    return found


def _section() -> str:
    return DOCUMENT.read_text().partition(SECTION)[2].partition("\n## ")[0]


def _rows(table: str) -> Iterator[tuple[str, str]]:
    for line in table.splitlines():
        if line.startswith("| `"):
            names, files = (re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[1:3])
            yield from ((name, file) for name in names for file in files)


SOURCE_OF = {str(path.relative_to(ROOT)): path.read_text() for path in SOURCES}


def test_every_private_name_in_the_code_is_in_the_table() -> None:
    missing = _names_in(SOURCE_OF) - set(_rows(_section()))
    assert not missing, "\n".join(
        [
            f"{DOCUMENT} lacks:",
            *(f"| `{name}` | `{file}` | whose | tested | if it goes |" for name, file in sorted(missing)),
        ]
    )


def test_every_name_in_the_table_is_in_the_code() -> None:
    rows = list(_rows(_section()))
    assert rows
    assert len(rows) == len(set(rows))
    gone = [row for row in rows if re.search(rf"\b{row[0]}\b", SOURCE_OF.get(row[1], "")) is None]
    assert not gone, f"{DOCUMENT} has names that are not in the code any more: {gone}"


@pytest.mark.parametrize(
    "code",
    [
        "def read(pool):\n    return pool._secret",
        "def read(pool):\n    return getattr(pool, '_secret', None)",
        "class Pool(Base):\n    def read(self):\n        return self._secret",
        "def replace(pool):\n    pool._secret = 1",
        "def replace(pool):\n    setattr(pool, '_secret', 1)",
        "def derive(base):\n    return type('Pool', (base,), {'_secret': 1})",
        "from sqlalchemy.pool import _secret",
        "from sqlalchemy._secret import pool",
    ],
)
def test_a_private_name_is_found(code: str) -> None:
    assert _names_in({"new.py": code}) == {("_secret", "new.py")}


@pytest.mark.parametrize("code", ["pool.secret = 1", "del pool.secret", "setattr(pool, 'secret', 1)"])
def test_a_name_that_is_replaced_is_found(code: str) -> None:
    assert _names_in({"new.py": code}) == {("secret", "new.py")}


@pytest.mark.parametrize(
    "code",
    [
        "class Ours:\n    def __init__(self):\n        self._own = 1\ndef read(ours):\n    return ours._own",
        "class Ours:\n    __slots__ = ('_own',)\ndef read(ours):\n    return ours._own",
        "class Ours:\n    own: int = 1\ndef write(ours):\n    ours.own = 2",
        "app.state.db_lifecycle = 1",
        "from . import _own",
        f"from {OURS}._own import own",
    ],
)
def test_a_name_of_our_own_is_not(code: str) -> None:
    assert _names_in({"new.py": code}) == set()
