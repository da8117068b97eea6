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
_SITE = tuple({sysconfig.get_path(name) + sep for name in ("purelib", "platlib")})
_PYTHON = tuple({sysconfig.get_path(name) + sep for name in ("stdlib", "platstdlib")})
_FOREIGN = frozenset(
    (
        *(
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
        ),
        *("httpcore", "httpx", "hypercorn", "litestar", "opentelemetry", "psycopg", "psycopg_pool", "quart", "sanic"),
        *("sqlalchemy", "starlette", "uvicorn", "uvloop", "werkzeug"),
    )
)
"""Packages of which no line says what an application is doing, though they are installed beside it."""


def awaited_line(task: "asyncio.Task[Any] | None") -> str | None:
    """Return the innermost line of the application in a task, for example ``shop/orders.py:41 pay``.

    Args:
        task: the task, which is not the running one. None and a task that has ended are nowhere.

    Returns:
        The last folder and the name of the file, the line and the function; or None if it is not known.

    """
    if task is None or task.done():
        return None
    line: str | None = None
    for code, number in await_chain(task.get_coro()):
        file = _shown(code.co_filename)
        if file is not None:
            line = f"{file}:{number} {code.co_name}"
    return line


@lru_cache(maxsize=4096)
def _shown(filename: str) -> str | None:
    """Return how a file of the application is shown, or None for any other."""
    if filename.startswith(("<", *_OURS)):
        return None
    for site in _SITE:
        if filename.startswith(site):
            # An application may be installed as well.
            if PurePath(filename[len(site) :]).parts[0].removesuffix(".py") in _FOREIGN:
                return None
            break
    else:
        if filename.startswith(_PYTHON):
            return None
    return "/".join(PurePath(filename).parts[-2:])
