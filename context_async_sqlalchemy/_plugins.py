"""Names of the published library that an adapter has: found by entry points, so that the core imports no adapter."""

from collections.abc import Collection
from importlib.metadata import entry_points
from typing import Any

ENTRY_POINT_GROUP = "context_async_sqlalchemy.published_names"


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
        for entry in entry_points(group=ENTRY_POINT_GROUP, name=name):
            return entry.load()
    raise AttributeError(f"module {module!r} has no attribute {name!r}")
