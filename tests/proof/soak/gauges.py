"""How many objects of each kind are alive, and how much memory the process has."""

import asyncio
import gc
import os
from pathlib import Path
from types import TracebackType

import sanic
import starlette.requests
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from context_async_sqlalchemy.adapter_kit import Context

KINDS: dict[str, type | tuple[type, ...]] = {
    "contexts": Context,
    "sessions": (AsyncSession, Session),
    "requests": (web.BaseRequest, sanic.Request, starlette.requests.HTTPConnection),
    "tasks": asyncio.Task,
    "exceptions": BaseException,
    "tracebacks": TracebackType,
}
"""The kinds of objects that a request may leave behind."""


def count_objects() -> dict[str, int]:
    """Count the objects of each kind that are alive after a collection."""
    gc.collect()
    counts = dict.fromkeys(KINDS, 0)
    for candidate in gc.get_objects():
        for name, types in KINDS.items():
            # By the type alone: isinstance() would ask a lazy proxy's own __class__.
            if issubclass(type(candidate), types):
                counts[name] += 1
    return counts


def resident_bytes() -> int:
    """Return the memory of this process that is resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
