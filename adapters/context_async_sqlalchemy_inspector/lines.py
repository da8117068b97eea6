"""The line of the application that a task awaits at."""

import asyncio
import sysconfig
from functools import lru_cache
from os import sep
from pathlib import Path, PurePath
from typing import Any

import context_async_sqlalchemy
from context_async_sqlalchemy.adapter_kit import await_chain

_ADAPTERS = str(Path(__file__).parents[1] / "context_async_sqlalchemy_")
_OURS = (f"{Path(context_async_sqlalchemy.__file__).parent}{sep}", _ADAPTERS)
_PYTHON = tuple({sysconfig.get_path(name) + sep for name in ("stdlib", "platstdlib")})
_SITES = ("site-packages", "dist-packages")
"""The names of the folders of installed packages. The second is Debian's."""
_FRAMEWORKS = frozenset(
    [
        "aiohttp",
        "aiosqlite",
        "anyio",
        "asgiref",
        "asyncpg",
        "falcon",
        "fastapi",
        "granian",
        "gunicorn",
        "httpcore",
        "httpx",
        "hypercorn",
        "litestar",
        "opentelemetry",
        "psycopg",
        "psycopg_pool",
        "quart",
        "sanic",
        "sqlalchemy",
        "starlette",
        "uvicorn",
        "uvloop",
        "werkzeug",
    ]
)
"""Installed packages that are never the application, though an application may be installed as they are."""


def awaited_line(task: "asyncio.Task[Any] | None") -> str | None:
    """Return the innermost line of the application in a task, for example ``shop/orders.py:41 pay``.

    The application is what is not installed. If no such line is awaited, it is an installed package that is no known
    framework.

    Args:
        task: the task, which is not the running one. None and a task that has ended are nowhere.

    Returns:
        The last folder and the name of the file, the line and the function; or None if it is not known.

    """
    if task is None or task.done():
        return None
    own = installed = None
    for code, number in await_chain(task.get_coro()):
        shown = _shown(code.co_filename)
        if shown is None:
            continue
        file, is_installed = shown
        line = f"{file}:{number} {code.co_name}"
        if is_installed:
            installed = line
        else:
            own = line
    return own or installed


@lru_cache(maxsize=4096)
def _shown(filename: str) -> tuple[str, bool] | None:
    """Return how a file is shown and whether it is installed, or None for Python's, ours and those of frameworks."""
    if filename.startswith(("<", *_OURS)):
        return None
    parts = PurePath(filename).parts
    site = next((index for index, part in enumerate(parts) if part in _SITES), None)
    if site is not None:
        if parts[site + 1].removesuffix(".py") in _FRAMEWORKS:
            return None
    elif filename.startswith(_PYTHON):
        return None
    return "/".join(parts[-2:]), site is not None
