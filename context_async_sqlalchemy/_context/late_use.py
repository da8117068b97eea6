"""Refuses code that uses a context after its end, and tells who wants to know."""

from collections.abc import Callable
from typing import Any, NoReturn

from context_async_sqlalchemy.exceptions import ContextClosedError

told: list[Callable[[], None]] = []
"""The functions that are called in the code that uses a context after its end, before it gets the error.

They must not raise."""


def refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
    """Raise ContextClosedError, also in the place of methods of a session whose context has ended."""
    for tell in told:
        tell()
    raise ContextClosedError
