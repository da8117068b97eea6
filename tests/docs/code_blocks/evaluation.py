"""How a block of Python is executed: with ``await`` outside of functions, and in one event loop for each page."""

import ast
import asyncio
import contextvars
import inspect
import textwrap
from pathlib import Path
from typing import Any
from unittest import SkipTest

from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser, SkipParser

_BODY = "_body_of_a_handler"


def execute_blocks(page: Path, names: dict[str, Any], runner: asyncio.Runner) -> None:
    """Execute the blocks of a page in their order.

    Args:
        page: the Markdown file.
        names: the names that the first block finds. Later blocks also find the names of earlier blocks.
        runner: runs the blocks that await.

    """
    # One for all blocks, so that a block finds the database context that an earlier block has opened.
    context = contextvars.copy_context()

    def evaluate(example: Example) -> None:
        code = _compiled(example)
        result = context.run(eval, code, example.namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(result, context=context)
        if _BODY in example.namespace:
            runner.run(example.namespace.pop(_BODY)(), context=context)

    document = Document.parse(str(page), CodeBlockParser("python", evaluate), SkipParser())
    document.namespace.update(names)
    for example in document:
        try:
            example.evaluate()
        except SkipTest:
            _compiled(example)


def _compiled(example: Example) -> Any:
    source = str(example.parsed)
    tree = ast.parse(source)
    if any(_returns(statement) for statement in tree.body):
        source = f"async def {_BODY}():\n{textwrap.indent(source, '    ')}"
    # The lines of a traceback are those of the page.
    line = example.line + example.parsed.line_offset
    return compile("\n" * line + source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def _returns(statement: ast.stmt) -> bool:
    """Return whether a statement has a ``return`` that belongs to no function of the block."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return False
    return isinstance(statement, ast.Return) or any(
        _returns(child) for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)
    )
