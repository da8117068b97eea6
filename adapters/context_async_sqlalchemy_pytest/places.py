"""Chooses from the places of a stack those that a reader can change: the lines of the application."""

import linecache
import os
import sysconfig
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from types import CodeType

import sqlalchemy

import context_async_sqlalchemy

Place = tuple[CodeType, int]
Trail = tuple[Place, ...]

_MOST = 3

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_NOT_OF_APPLICATION = (
    sysconfig.get_path("stdlib") + os.sep,
    sysconfig.get_path("platstdlib") + os.sep,
    # This library, if it is installed in an editable way: the core, and the adapters.
    str(Path(context_async_sqlalchemy.__file__).parent) + os.sep,
    str(Path(__file__).parents[1] / "context_async_sqlalchemy_"),
    # Code without a file.
    "<",
)
_SQLALCHEMY = str(Path(sqlalchemy.__file__).parent) + os.sep


def of_application(places: Iterable[Place]) -> Trail:
    """Return the first few places that are neither in an installed library nor in the standard library.

    Args:
        places: the innermost place first.

    """
    return tuple(islice((place for place in places if _is_of_application(place[0].co_filename)), _MOST))


def is_in_sqlalchemy(place: Place) -> bool:
    """Return whether a place is in SQLAlchemy: a task that awaits there runs a statement, or waits for a connection."""
    return place[0].co_filename.startswith(_SQLALCHEMY)


def described(trail: Trail, root: Path) -> str:
    """Return the innermost place with the text of its line, and below it the places that it was called from.

    Args:
        trail: the places, the innermost first.
        root: files below this folder are named by their path within it.

    """
    if not trail:
        return "an unknown place"
    code, line = trail[0]
    text = linecache.getline(code.co_filename, line).strip()
    lines = [_named(trail[0], root), *([f"    {text}"] if text else [])]
    lines += [f"called from {_named(place, root)}" for place in trail[1:]]
    return "\n    ".join(lines)


def _named(place: Place, root: Path) -> str:
    code, line = place
    path = Path(code.co_filename)
    return f"{path.relative_to(root) if path.is_relative_to(root) else path}:{line} in {code.co_qualname}"


def _is_of_application(filename: str) -> bool:
    return not filename.startswith(_NOT_OF_APPLICATION) and _INSTALLED.isdisjoint(Path(filename).parts)
