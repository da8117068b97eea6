"""Where the current context is found: apart, because what a context is made of asks for it too."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .context import Context

ContextFinder = Callable[[], "Context | None"]

current: ContextVar["Context | None"] = ContextVar("context_async_sqlalchemy", default=None)

_finders: list[ContextFinder] = []


def context_or_none() -> "Context | None":
    """Return the current context, open or ended, or None."""
    context = current.get()
    if context is None:
        for find in _finders:
            context = find()
            if context is not None:
                break
    return context


def find_contexts_by(finder: ContextFinder) -> None:
    """Ask a function for the context where no other is current: for a framework that knows the current request itself.

    So the context of a request can be made at its first use, and one task can serve many requests.

    Args:
        finder: returns the context, open or ended, of the framework's current request, or None if there is none.
            Registering it again changes nothing.

    """
    if finder not in _finders:
        _finders.append(finder)
