"""The functions that make the engine and the session maker of a DBConnect."""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

from sqlalchemy.engine import URL, Dialect
from sqlalchemy.exc import ArgumentError

# The function is looked up at the call, because an instrumentation of OpenTelemetry may replace it after our import.
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

# This one stays without instrumentation.
from sqlalchemy.ext.asyncio.engine import create_async_engine
from sqlalchemy.orm import sessionmaker

from ._connecting import PasswordSource
from ._redaction import kind_of, without_login

EngineCreatorFunc = Callable[[str], AsyncEngine]
SessionMakerCreatorFunc = Callable[[AsyncEngine], async_sessionmaker[AsyncSession]]

_OWN_HOST = "(the engine's own)"
"""Stands for the host where the DBConnect does not choose it."""

_CHECKED_OPTIONS: dict[str, tuple[tuple[type, ...], str, float]] = {
    "pool_size": ((int,), "a whole number of connections, 0 for any number", 0),
    "max_overflow": ((int,), "a whole number of connections, -1 for any number", -1),
    "pool_timeout": ((int, float, NoneType), "a number of seconds, None for no limit", 0),
    "pool_recycle": ((int, float), "a number of seconds, -1 for never", -1),
    "connect_args": ((Mapping,), "a dict of the driver's arguments", 0),
}
"""The types, the meaning and the least value of options that SQLAlchemy looks at only in the first request."""

# The packages of drivers whose name on PyPI, with its extra, is not the driver's own.
_PACKAGES = {"psycopg": "psycopg[binary]"}


def by_url(
    url: URL, engine_options: dict[str, Any], password: str | PasswordSource | None
) -> tuple[EngineCreatorFunc, str]:
    """Return a function that makes an engine for a URL and any host, and the host of the URL.

    Args:
        url: the URL of the connection.
        engine_options: the options of the engine.
        password: the password, or the function that returns it. Only a password itself becomes a part of the URL.

    Raises:
        ImportError: the driver is not installed.
        TypeError: an option is unknown, or the password has the wrong type.
        ValueError: the driver is not an async driver or takes no password, or the options have a creator beside the
            password.

    """
    parsed = url.set(password=password) if isinstance(password, str) else url
    dialect = parsed.get_dialect()
    if not dialect.get_async_dialect_cls(parsed).is_async:
        raise ValueError(
            f"DBConnect.from_url needs an async driver, and {parsed.drivername!r} is not one: write for example "
            "postgresql+asyncpg://, postgresql+psycopg:// or sqlite+aiosqlite://"
        )
    _try_options(parsed, engine_options, password)

    # A URL without a host (a file, a socket) stays unchanged until `change_host` or `connect` names a host.
    own_host = address_of(parsed) or _OWN_HOST

    def make_engine(host: str) -> AsyncEngine:
        address = parsed if host == own_host else _with_host(parsed, host)
        return sqlalchemy_asyncio.create_async_engine(address, **engine_options)

    return make_engine, own_host


def by_engine(engine: AsyncEngine) -> tuple[EngineCreatorFunc, str]:
    """Return a function that returns the application's engine, and what stands for its host."""
    return _of_own_host(lambda: engine, "a DBConnect.from_url(...)"), _OWN_HOST


def by_function(
    engine_creator: EngineCreatorFunc | Callable[[], AsyncEngine], host: str | None
) -> tuple[EngineCreatorFunc, str | None]:
    """Return a function that makes an engine for a host, and the first host, or None if no host is known.

    Args:
        engine_creator: the application's function, with a host as its parameter or without.
        host: the first host, or None for the default of the function's parameter.

    Raises:
        ValueError: a host is given, and the function takes none.

    """
    # Any, because a type checker cannot see which of the two the look at the signature has found.
    make: Any = engine_creator
    parameters = _positional_parameters(make)
    if parameters is None:
        return make, host
    if not parameters:
        if host is not None:
            raise ValueError(
                f"engine_creator takes no host, but host={without_login(host)!r} is given: leave host= out, or let the "
                "function take the host as its parameter"
            )
        return _of_own_host(make, "an engine_creator that takes a host"), _OWN_HOST
    default: object = parameters[0].default
    return make, default if host is None and isinstance(default, str) and default else host


def require_creator(argument: str, given: object, made: str) -> None:
    """Check an argument of ``DBConnect`` that is a function.

    Args:
        argument: its name.
        given: the argument.
        made: the class of the object that the function returns.

    Raises:
        TypeError: it is not a function, or it is async.

    """
    if not callable(given):
        raise TypeError(
            f"{argument} is a function that returns an {made}: got {kind_of(given)}. For a URL there is "
            "DBConnect.from_url(url), for an engine DBConnect.from_engine(engine)"
        )
    if inspect.iscoroutinefunction(given):
        raise TypeError(f"{argument} returns an {made}, and must not be async, because it opens no connection")


def make_session_maker(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Return a session maker whose objects stay readable after a commit."""
    return async_sessionmaker(engine, expire_on_commit=False)


def require_async(engine: AsyncEngine) -> AsyncEngine:
    """Return the engine.

    Raises:
        TypeError: it is not an AsyncEngine, but SQLAlchemy's Engine for synchronous code, for example.

    """
    # Not isinstance(), because the engine may be a mock in a test.
    if not hasattr(engine, "sync_engine"):
        raise TypeError(
            f"a DBConnect needs an AsyncEngine, got {type(engine).__name__}: make it by "
            "sqlalchemy.ext.asyncio.create_async_engine"
        )
    return engine


def require_async_maker(maker: object, name: str) -> None:
    """Raise TypeError unless a session maker is async. A mock passes.

    Args:
        maker: the session maker.
        name: the name of the connection.

    """
    kind = kind_of(maker)
    if isinstance(maker, sessionmaker) or not callable(maker):
        raise TypeError(
            f"session_maker_creator of connection {name!r} must return an async_sessionmaker, and returned {kind}: "
            "make it by sqlalchemy.ext.asyncio.async_sessionmaker(engine), in a function that is not async"
        )


def address_of(url: URL) -> str:
    """Return ``host:port`` or ``host`` of a URL, or an empty string if the URL has no host."""
    host = url.host or ""
    return f"{host}:{url.port}" if url.port else host


def _try_options(url: URL, options: dict[str, Any], password: object) -> None:
    """Make an engine that is not used, so that a mistake is reported where it is made, and not in the first request."""
    for option, (kinds, needed, least) in _CHECKED_OPTIONS.items():
        if option in options:
            _check_option(option, options[option], kinds, needed, least)
    try:
        dialect = create_async_engine(url, **options).dialect
    except ImportError as error:
        package = _PACKAGES.get(url.get_driver_name(), url.get_driver_name())
        raise ImportError(
            f"the driver of {url.drivername!r} cannot be imported ({error}): install it, for example by pip install "
            f"{package!r}",
            name=error.name,
        ) from error
    if password is None:
        return
    if not isinstance(password, str) and not callable(password):
        raise TypeError(
            "DBConnect.from_url(password=...) takes a str, or a function that returns one, and got "
            f"{type(password).__name__}"
        )
    if "creator" in options or "async_creator" in options:
        raise ValueError("DBConnect.from_url: password= has no effect beside a creator, which makes the connections")
    if not _takes_password(dialect, url):
        raise ValueError(f"DBConnect.from_url: the driver of {url.drivername!r} takes no argument 'password'")


def _check_option(option: str, given: object, kinds: tuple[type, ...], needed: str, least: float) -> None:
    if not isinstance(given, kinds) or isinstance(given, bool):
        raise TypeError(f"the engine's option {option} is {needed}: got {kind_of(given)}")
    # So, because a comparison with NaN is false.
    if isinstance(given, int | float) and not given >= least:
        raise ValueError(f"the engine's option {option} is {needed}, and not less than {least:g}: got {given!r}")


def _takes_password(dialect: Dialect, url: URL) -> bool:
    try:
        return "password" in dialect.create_connect_args(url.set(password="unknown"))[1]  # noqa: S106 - no secret
    except ArgumentError:
        # SQLite has no users.
        return False


def _with_host(url: URL, address: str) -> URL:
    """Return a URL with another host and port, given ``host``, ``host:port`` or ``[v6]:port``."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit() or (":" in host and not host.startswith("[")):
        return url.set(host=address)
    return url.set(host=host.strip("[]"), port=int(port))


def _of_own_host(make: Callable[[], AsyncEngine], needed: str) -> EngineCreatorFunc:
    def make_engine(host: str) -> AsyncEngine:
        if host != _OWN_HOST:
            raise ValueError(
                f"this DBConnect has no other host than its engine's, got {without_login(host)!r}: use {needed}"
            )
        return make()

    return make_engine


def _positional_parameters(function: Callable[..., object]) -> list[inspect.Parameter] | None:
    """Return the parameters that a positional argument can fill, or None if the function does not tell them."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return [parameter for parameter in signature.parameters.values() if parameter.kind in kinds]
