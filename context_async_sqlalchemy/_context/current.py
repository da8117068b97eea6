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
    """Register a function that finds the context of the framework's current request.

    The library calls the function if no context is current. This lets a framework open the context of a request at its
    first use, and serve many requests in one task.

    Args:
        finder: returns the context, open or ended, of the framework's current request. It returns None outside of
            requests. A second registration changes nothing.

    """
    if finder not in _finders:
        _finders.append(finder)


# A shutdown does not wait for contexts that the application opens and ends itself.
_own_contexts = Rules(tracks_contexts=False)


def current_context() -> Context:
    """Return the current context, open or ended.

    Raises:
        ContextNotInitiatedError: no context is current.

    """
    context = context_or_none()
    if context is None:
        raise ContextNotInitiatedError
    return context


def make_current(context: Context) -> Token[Context | None]:
    """Make a context the current one, and return a token for ``leave_context``.

    A task that works for one context only need not leave the context.
    """
    return current.set(context)


def open_context(rules: Rules | None = None) -> tuple[Context, Token[Context | None]]:
    """Open a context and make it the current one.

    Args:
        rules: the rules by which the context ends. The default is the rules of the current context.

    Returns:
        The context, and the token by which ``leave_context`` makes the previous one current again.

    """
    parent = context_or_none()
    if rules is None:
        rules = _own_contexts if parent is None else parent.rules
    context = Context(rules, parent)
    return context, current.set(context)


def leave_context(token: Token[Context | None]) -> None:
    """Make the previous context current again. Unlike ``ContextVar.reset``, this works in any task, and repeatedly."""
    previous = token.old_value
    current.set(None if previous is Token.MISSING else previous)
