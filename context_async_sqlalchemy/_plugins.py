"""Everything that is found by entry points: the frameworks' adapters, the observers, the published names."""

import logging
from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .observer import Observer

logger = logging.getLogger("context_async_sqlalchemy")

FRAMEWORKS = "context_async_sqlalchemy.frameworks"
OBSERVERS = "context_async_sqlalchemy.observers"
PUBLISHED_NAMES = "context_async_sqlalchemy.published_names"


def published_name(module: str, offered: Collection[str], name: str) -> Any:
    """Load what a published name stands for: the body of a module's ``__getattr__``.

    Args:
        module: the module that is asked for the name.
        offered: the names that it offers.
        name: the name.

    Raises:
        AttributeError: the module does not offer it, or no installed adapter has it.
        ImportError: its adapter's framework is not installed.

    """
    # Python asks for other names too, at every import of a submodule.
    if name in offered:
        for entry in entry_points(group=PUBLISHED_NAMES, name=name):
            return entry.load()
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


def adapter_for(app: object) -> EntryPoint:
    """Return the entry point of the adapter for an application, found by the name of its framework's package.

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
        "Pass the application object itself; install an adapter with pip install 'context-async-sqlalchemy[aiohttp]'; "
        "wrap any other ASGI application by ASGIHTTPDBSessionMiddleware(app, connections=[...]); "
        f"a third-party adapter registers itself in the entry point group {FRAMEWORKS!r}"
    )


def installed_observers() -> tuple[Observer, ...]:
    """Make the observers that installed packages offer by entry points, each a callable without arguments.

    The entry points of this distribution are there whether its extras are installed or not: one that cannot be
    imported is left out.
    """
    observers: list[Observer] = []
    for entry in entry_points(group=OBSERVERS):
        try:
            make = entry.load()
        except ImportError as error:
            logger.debug("observer %r is left out: %s", entry.name, error)
        else:
            observers.append(make())
    return tuple(observers)
