"""Checks of what an application passes: a wrong type or value is refused where it is passed, by a sentence."""

import inspect
from collections.abc import Awaitable
from typing import TypeVar

from context_async_sqlalchemy._redaction import kind_of

T = TypeVar("T")


def check_seconds(option: str, given: object) -> None:
    """Check the value of an option that is a number of seconds.

    Raises:
        TypeError: the value is not a number.
        ValueError: the value is not positive.

    """
    if not isinstance(given, int | float) or isinstance(given, bool):
        raise TypeError(f"{option} is a number of seconds: got {kind_of(given)}")
    # So, because a comparison with NaN is false.
    if not given > 0:
        raise ValueError(f"{option} is in seconds and must be positive: got {given!r}")


def check_delay(option: str, given: object) -> None:
    """Check the value of an option that is a number of seconds, and may be 0.

    Raises:
        TypeError: the value is not a number.
        ValueError: the value is negative.

    """
    if given != 0 or isinstance(given, bool):
        check_seconds(option, given)


def check_count(option: str, given: object) -> None:
    """Check the value of an option that is a number of things.

    Raises:
        TypeError: the value is not a whole number.
        ValueError: the value is not positive.

    """
    if not isinstance(given, int) or isinstance(given, bool):
        raise TypeError(f"{option} is a whole number: got {kind_of(given)}")
    if given <= 0:
        raise ValueError(f"{option} must be positive: got {given!r}")


def check_switch(option: str, given: object) -> None:
    """Check the value of an option that is on or off.

    Raises:
        TypeError: the value is not a bool. A string such as ``"off"`` would count as true.

    """
    if not isinstance(given, bool):
        raise TypeError(f"{option} is True or False: got {kind_of(given)}")


def check_text(option: str, given: object) -> None:
    """Check the value of an option that is a string.

    Raises:
        TypeError: the value is not a string.

    """
    if not isinstance(given, str):
        raise TypeError(f"{option} is a str: got {kind_of(given)}")


def check_name(option: str, given: object) -> None:
    """Check the value of an option that names something.

    Raises:
        TypeError: the value is not a string.
        ValueError: the string is empty.

    """
    check_text(option, given)
    if not given:
        raise ValueError(f"{option} is not empty: leave it out for the address and the name of the database")


def check_hook(option: str, hook: object, takes: str = "a session") -> None:
    """Check the value of an option that is an async function, or None.

    Args:
        option: its name.
        hook: its value.
        takes: the argument of the function.

    Raises:
        TypeError: the value is not callable.

    """
    if hook is not None and not callable(hook):
        raise TypeError(f"{option} is an async function that takes {takes}: got {kind_of(hook)}")


def require_awaitable(answer: Awaitable[T], of: str) -> Awaitable[T]:
    """Return the answer of an application's function that has to be async.

    The answer is looked at and not the function, because a function that is not async may return a coroutine.

    Args:
        answer: what the function has returned.
        of: what the function is.

    Raises:
        TypeError: the answer cannot be awaited.

    """
    if not inspect.isawaitable(answer):
        raise TypeError(f"{of} must be an async function: write async def. It has returned {kind_of(answer)}")
    return answer


def require_connection(given: object) -> None:
    """Raise TypeError unless an object can be used as a DBConnect."""
    # Not isinstance(), because it may be a mock in a test.
    if isinstance(given, type) or not hasattr(given, "create_session"):
        raise TypeError(
            f"a DBConnect is needed, as it is given to setup_db: got {kind_of(given)}. Make it once for a database, by "
            "DBConnect.from_url(url)"
        )
