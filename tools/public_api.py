"""The public names of the library with their signatures, as the source has them: ``make api`` writes the list.

The list is made from the source and not from the imported objects, because each CPython shows annotations differently.
"""

import argparse
import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import cast

LIST = Path(__file__).parents[1] / "tests/api/public_api.txt"
MODULES = (
    "context_async_sqlalchemy",
    "context_async_sqlalchemy.asgi_utils",
    "context_async_sqlalchemy.auto_commit",
    "context_async_sqlalchemy.connect",
    "context_async_sqlalchemy.context",
    "context_async_sqlalchemy.exceptions",
    "context_async_sqlalchemy.fastapi_utils",
    "context_async_sqlalchemy.retry",
    "context_async_sqlalchemy.run_in_new_context",
    "context_async_sqlalchemy.session",
    "context_async_sqlalchemy.starlette_utils",
    "context_async_sqlalchemy.test_utils",
    "context_async_sqlalchemy.observer",
    "context_async_sqlalchemy.adapter_kit",
    "context_async_sqlalchemy_aiohttp",
    "context_async_sqlalchemy_asgi",
    "context_async_sqlalchemy_asgi.falcon",
    "context_async_sqlalchemy_asgi.litestar",
    "context_async_sqlalchemy_asgi.quart",
    "context_async_sqlalchemy_asgi.starlette",
    "context_async_sqlalchemy_inspector",
    "context_async_sqlalchemy_opentelemetry",
    "context_async_sqlalchemy_prometheus",
    "context_async_sqlalchemy_pytest",
    "context_async_sqlalchemy_sanic",
)
_ROOTS = tuple({name.partition(".")[0] for name in MODULES})
_LONGEST_TEXT = 40
_HEADER = "# The public API. `make api` writes this file; docs/reference/stability.md says what a change of it means.\n"


def public_api() -> str:
    """Return the list."""
    first: dict[str, str] = {}
    return _HEADER + "".join(f"\n## {name}\n" + "".join(_of_module(name, first)) for name in MODULES)


def _of_module(name: str, first: dict[str, str]) -> Iterator[str]:
    """Describe the names of a module.

    Args:
        name: the module.
        first: for each description the module that had it first. The others refer to that one.

    """
    module = importlib.import_module(name)
    for public in _names(module):
        described = "".join(_described(public, getattr(module, public)))
        where = first.setdefault(described, name)
        yield described if where == name else f"{public}: see {where}\n"


def _names(module: ModuleType) -> list[str]:
    declared: list[str] | None = getattr(module, "__all__", None)
    if declared is not None:
        return sorted(declared)
    # What a module without a list has defined itself, and the names that it assigns.
    assigned = {
        target.id
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (name in assigned or getattr(value, "__module__", None) == module.__name__)
        and type(value).__name__ not in {"TypeVar", "ParamSpec", "TypeVarTuple", "Logger"}
    )


def _described(name: str, value: object) -> Iterator[str]:
    # `retried` and others are wrapped by decorators: their source is that of the function itself.
    unwrapped = inspect.unwrap(value) if callable(value) else value
    if getattr(unwrapped, "__module__", "").partition(".")[0] in _ROOTS and (
        inspect.isfunction(unwrapped) or inspect.isclass(unwrapped)
    ):
        (node,) = _Shortened().visit(ast.parse(textwrap.dedent(inspect.getsource(unwrapped)))).body
        yield from _of_node(name, node, "")
    elif isinstance(value, str | int | float):
        yield f"{name} = {value!r}\n"
    elif isinstance(value, frozenset):
        members = cast("frozenset[object]", value)
        yield f"{name} = frozenset({{{', '.join(sorted(map(repr, members)))}}})\n"
    elif type(value).__module__ in {"collections.abc", "types", "typing"}:
        yield f"{name}: {value}\n"
    else:
        yield f"{name}: {type(value).__name__}\n"


class _Shortened(ast.NodeTransformer):
    """Leaves the messages of exceptions out, which are not public."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        is_message = isinstance(node.value, str) and len(node.value) > _LONGEST_TEXT
        return ast.Constant(...) if is_message else node


def _of_node(name: str, node: ast.stmt, indent: str) -> Iterator[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            decorators = "".join(f"@{ast.unparse(each)} " for each in node.decorator_list)
            keyword = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
            returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            yield f"{indent}{decorators}{keyword} {name}({ast.unparse(node.args)}){returned}\n"
        case ast.ClassDef():
            decorators = "".join(f"@{ast.unparse(each)} " for each in node.decorator_list)
            bases = ", ".join(ast.unparse(each) for each in [*node.bases, *node.keywords])
            yield f"{indent}{decorators}class {name}{f'({bases})' if bases else ''}\n"
            for member in node.body:
                yield from _of_member(member, f"{indent}    ")
        case _:
            return


def _of_member(node: ast.stmt, indent: str) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            if not name.startswith("_") or name == "__init__":
                yield from _of_node(name, node, indent)
        case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
            value = f" = {ast.unparse(node.value)}" if node.value else ""
            yield f"{indent}{name}: {ast.unparse(node.annotation)}{value}\n"
        case ast.Assign(targets=[ast.Name(id=name)]) if not name.startswith("_"):
            yield f"{indent}{name} = {ast.unparse(node.value)}\n"
        case _:
            return


def main() -> int:
    """Write the list, or with ``--check`` say whether it is up to date."""
    parser = argparse.ArgumentParser(prog="python -m tools.public_api", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the list would change")
    arguments = parser.parse_args()
    current = public_api()
    if not arguments.check:
        LIST.write_text(current, encoding="utf-8")
        return 0
    if LIST.read_text(encoding="utf-8") == current:
        return 0
    print("The public API has changed. Look at the change by: make api && git diff tests/api", file=sys.stderr)  # noqa: T201 - a program
    return 1


if __name__ == "__main__":
    sys.exit(main())
