"""Finds by entry points: the adapters of frameworks, the observers, and the published names."""

import logging
from collections.abc import Callable, Collection
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .observer import Observer

logger = logging.getLogger("context_async_sqlalchemy")

FRAMEWORKS = "context_async_sqlalchemy.frameworks"
OBSERVERS = "context_async_sqlalchemy.observers"
INSPECTORS = "context_async_sqlalchemy.inspectors"
PUBLISHED_NAMES = "context_async_sqlalchemy.published_names"


def published_name(module: str, offered: Collection[str], name: str) -> Any:
    """Return the object of a published name. A module calls this in its ``__getattr__``.

    Args:
        module: the name of the module.
        offered: the names that the module offers.
        name: the name of the object.

    Raises:
        AttributeError: the module does not offer the name, or no installed adapter has it.
        ImportError: the framework of the adapter is not installed.

    """
    # Checked first, because Python asks for other names too, at every import of a submodule.
    if name in offered:
        for entry in entry_points(group=PUBLISHED_NAMES, name=name):
            return entry.load()
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


def adapter_for(app: object) -> EntryPoint:
    """Return the entry point of an application's adapter, found by the package name of the framework.

    Raises:
        TypeError: no installed adapter knows the framework.

    """
    adapters = {entry.name: entry for entry in entry_points(group=FRAMEWORKS)}
    for base in type(app).__mro__:
        adapter = adapters.get(base.__module__.partition(".")[0])
        if adapter is not None:
            return adapter
    known = ", ".join(sorted(adapters)) or "none"
    raise TypeError(
        f"setup_db knows no framework for {type(app).__module__}.{type(app).__qualname__} (adapters found: {known}). "
        "Pass the application object itself; if none is found, install this library again with its extra, such as "
        "[aiohttp]; wrap any other ASGI application by ASGIHTTPDBSessionMiddleware(app, connections=[...]); "
        f"a third-party adapter registers itself in the entry point group {FRAMEWORKS!r}"
    )


def installed_observers() -> tuple[Observer, ...]:
    """Return the observers that installed packages offer. Each entry point names a callable without arguments.

    An observer is made once for the process. Otherwise applications that share a DBConnect would each count its events.

    An observer that cannot be imported is left out, because the entry points of this distribution exist even if its
    extras are not installed.
    """
    observers: list[Observer] = []
    for entry in entry_points(group=OBSERVERS):
        try:
            make = entry.load()
        except ImportError as error:
            logger.debug("observer %r is left out: %s", entry.name, error)
        else:
            observers.append(_made_by(make))
    return tuple(observers)


def inspector_at(path: str) -> Observer:
    """Return a new inspector, an observer that serves a page at a path.

    Args:
        path: the option ``inspector_path``.

    Raises:
        LookupError: no installed package offers an inspector.
        ValueError: the path has no possible value.

    """
    for entry in entry_points(group=INSPECTORS):
        make: Callable[[str], Observer] = entry.load()
        return make(path)
    raise LookupError(
        f"setup_db was given inspector_path={path!r}, but no installed package has an entry point in the group "
        f"{INSPECTORS!r}: install context-async-sqlalchemy again"
    )


@cache
def _made_by(make: Callable[[], Observer]) -> Observer:
    return make()
