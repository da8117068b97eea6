"""Shows objects of an application in messages and in the log, without the secrets that they may have."""

from contextlib import suppress
from copy import copy

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, StatementError


def kind_of(candidate: object) -> str:
    """Return what an object is: ``a str``, ``a module.Class`` or ``the class module.Class``.

    A message has this instead of the ``repr``, which may quote a password or a header.
    """
    if isinstance(candidate, type):
        return f"the class {_name_of(candidate)}"
    name = _name_of(type(candidate))
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def url_of(url: str | URL) -> URL:
    """Return the parsed URL.

    Raises:
        sqlalchemy.exc.ArgumentError: it is not a URL. The message does not quote it.

    """
    if isinstance(url, URL):
        return url
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not chained, because the error may quote a part of the URL.
        parsed = None
    # SQLAlchemy ends a password at its first @. The rest of the password would be shown as a part of the address.
    if parsed is None or (parsed.host and "@" in f"{parsed.host}{parsed.database}"):
        raise ArgumentError(
            f"DBConnect.from_url needs a SQLAlchemy URL, dialect+driver://user:password@host:port/database, and got "
            f"{kind_of(url)} that is none (it is not shown, because it may have a password). Quote special characters "
            "of a password by urllib.parse.quote_plus, or build the URL by sqlalchemy.URL.create"
        )
    return parsed


def without_login(host: str) -> str:
    """Return a host as it may be shown: what an ``engine_creator`` gets as its host may be a URL with a password."""
    return host.rpartition("@")[2].partition("?")[0]


def without_statements(error: BaseException) -> BaseException:
    """Return an exception for the log: the same, or a copy whose text has no SQL and no bound values.

    SQLAlchemy adds both to the text of its errors. The text of the driver stays, and so does the traceback.
    """
    chain = _chain(error)
    if not any(isinstance(each, StatementError) for each in chain):
        return error
    shown: BaseException | None = None
    for each in reversed(chain):
        copied = _copy(each).with_traceback(each.__traceback__)
        copied.__cause__ = shown
        shown = copied
    return shown or error


def _name_of(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an exception and those that have led to it."""
    chain: list[BaseException] = []
    while error is not None and not any(error is earlier for earlier in chain):
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain


def _copy(error: BaseException) -> BaseException:
    # Some classes cannot be made from their arguments.
    with suppress(Exception):
        copied = copy(error)
        if isinstance(copied, StatementError):
            copied.statement = copied.params = None
        return copied
    text = "" if isinstance(error, StatementError) else f": {error}"
    return RuntimeError(f"{kind_of(error)}{text}")
