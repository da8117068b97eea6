"""Which context is current."""

from collections.abc import Callable
from contextvars import ContextVar, Token

from context_async_sqlalchemy.exceptions import ContextNotInitiatedError

from .context import Context
from .rules import Rules

ContextFinder = Callable[[], Context | None]

current: ContextVar[Context | None] = ContextVar("context_async_sqlalchemy", default=None)

_finders: list[ContextFinder] = []


def context_or_none() -> Context | None:
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


# Contexts that the application opens and ends itself are not waited for at a shutdown.
_own_contexts = Rules(tracks_contexts=False)


def current_context() -> Context:
    """Return the current context, open or ended.

    Raises:
        ContextNotInitiatedError: there is none.

    """
    context = context_or_none()
    if context is None:
        raise ContextNotInitiatedError
    return context


def make_current(context: Context) -> Token[Context | None]:
    """Make a context the current one, for good in a task whose only work it is; return a token to leave it."""
    return current.set(context)


def open_context(rules: Rules | None = None) -> tuple[Context, Token[Context | None]]:
    """Open a context and make it the current one.

    Args:
        rules: how it ends; by default as the current context would.

    Returns:
        The context, and the token by which ``leave_context`` makes the previous one current again.

    """
    parent = context_or_none()
    if rules is None:
        rules = _own_contexts if parent is None else parent.rules
    context = Context(rules, parent)
    return context, current.set(context)


def leave_context(token: Token[Context | None]) -> None:
    """Make the previous context current again; unlike ``ContextVar.reset`` this works from any task, repeatedly."""
    previous = token.old_value
    current.set(None if previous is Token.MISSING else previous)
