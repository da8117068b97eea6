"""Objects that an application passes are not quoted in messages and reprs, because they may have secrets.

What requests bring is in tests/conformance/test_secrets.py, and routes that cannot be found in
tests/core/observing/test_routes.py.
"""

import itertools
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import falcon.asgi
import litestar
import pytest
import quart
from aiohttp import web
from sanic import Sanic
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from starlette.applications import Starlette

import context_async_sqlalchemy_aiohttp
import context_async_sqlalchemy_asgi.falcon
import context_async_sqlalchemy_asgi.litestar
import context_async_sqlalchemy_asgi.quart
import context_async_sqlalchemy_asgi.starlette
import context_async_sqlalchemy_sanic
from context_async_sqlalchemy import DBConnect, StartCheckError, run_in_new_ctx, setup_db
from context_async_sqlalchemy.adapter_kit import Lifecycle, kind_of, without_statements
from context_async_sqlalchemy.observer import Observer
from tests.conformance.statements import run
from tests.support.ports import free_port

SECRET = "hunter2"  # noqa: S105 - it is looked for
URL_WITH_SECRETS = f"postgresql+asyncpg://me:{SECRET}@host:5432/shop?sslpassword={SECRET}"

# Sanic wants each application to have a name of its own.
_numbers = itertools.count()


@dataclass
class _Options:
    token: str = SECRET


@dataclass(eq=False)
class _Scraped(Observer):
    token: str = SECRET

    def expose(self, accept: str, accept_encoding: str) -> Any:
        raise NotImplementedError


def shown(error: BaseException) -> str:
    """Return all that a person sees of an error that nobody handles, its causes and notes included."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "wrong",
    [
        URL_WITH_SECRETS,
        make_url(URL_WITH_SECRETS),
        {"url": URL_WITH_SECRETS},
        _Options(),
        pytest.param(create_async_engine(URL_WITH_SECRETS), id="engine"),
    ],
    ids=lambda wrong: type(wrong).__name__,
)
def test_what_is_given_instead_of_a_connection_is_not_quoted(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"takes DBConnect objects, got an? ") as caught:
        setup_db(web.Application(), [wrong])
    assert SECRET not in shown(caught.value)
    assert type(wrong).__qualname__ in str(caught.value)


@pytest.mark.parametrize(
    "setup",
    [
        setup_db,
        context_async_sqlalchemy_aiohttp.setup_db,
        context_async_sqlalchemy_asgi.falcon.setup_db,
        context_async_sqlalchemy_asgi.litestar.setup_db,
        context_async_sqlalchemy_asgi.quart.setup_db,
        context_async_sqlalchemy_asgi.starlette.setup_db,
        context_async_sqlalchemy_sanic.setup_db,
    ],
    ids=lambda setup: setup.__module__,
)
@pytest.mark.parametrize("wrong", [URL_WITH_SECRETS, _Options()], ids=["url", "object"])
def test_what_is_given_instead_of_an_application_is_not_quoted(setup: Callable[..., None], wrong: object) -> None:
    with pytest.raises(TypeError) as caught:
        setup(wrong, [])
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        web.Application,
        falcon.asgi.App,
        litestar.Litestar,
        lambda: quart.Quart("secrets"),
        Starlette,
        lambda: Sanic(f"secrets-{next(_numbers)}", configure_logging=False),
    ],
    ids=["aiohttp", "falcon", "litestar", "quart", "starlette", "sanic"],
)
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"observers": [_Options()]}, TypeError),
        ({"observers": [_Scraped(), _Scraped()]}, ValueError),
        ({"metrics_access": _Options()}, TypeError),
        ({"metrics_access": f"{SECRET}, with a comma"}, ValueError),
    ],
    ids=["no observer", "two scraped", "no token", "a wrong token"],
)
def test_wrong_options_are_not_quoted(make: Callable[[], Any], options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        setup_db(make(), [], **options)
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        SECRET,
        f"me:{SECRET}@host/shop",
        f"postgresql+asyncpg://me:pass@{SECRET}@host/shop",
        f"postgresql+asyncpg://me:pass@{SECRET}/word@host/shop",
        f"postgresql+asyncpg://me@host:{SECRET}/shop",
        pytest.param(_Options(), id="object"),
    ],
)
def test_a_url_that_is_none_is_not_quoted(url: Any) -> None:
    """SQLAlchemy ends a password at its first @, and takes the rest for the host and the database."""
    with pytest.raises(ArgumentError, match=r"needs a SQLAlchemy URL.*quote_plus") as caught:
        DBConnect.from_url(url)
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql+psycopg2", "postgresql+nodriver", "nodatabase+driver", "sqlite"])
def test_a_wrong_driver_quotes_no_password(scheme: str) -> None:
    with pytest.raises(Exception, match=r"driver|plugin") as caught:
        DBConnect.from_url(URL_WITH_SECRETS.replace("postgresql+asyncpg", scheme))
    assert SECRET not in shown(caught.value)


async def test_an_unknown_engine_option_quotes_no_password() -> None:
    with pytest.raises(TypeError) as caught:
        await DBConnect.from_url(URL_WITH_SECRETS, poolsize=SECRET).session_maker()
    assert "poolsize" in str(caught.value)
    # The line of this test is in the traceback.
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("password", [SECRET, lambda: SECRET], ids=["str", "function"])
async def test_a_check_at_start_quotes_no_password(password: Any, caplog: pytest.LogCaptureFixture) -> None:
    url = f"postgresql+asyncpg://me:{SECRET}@127.0.0.1:{free_port()}/shop"
    connection = DBConnect.from_url(url, password=password)
    with pytest.raises(StartCheckError) as caught:
        await Lifecycle([connection], observers=(), check_at_start=True).start()
    text = f"{caught.value} {caught.value!r} {caught.value.problems} {connection!r} {caplog.text}"
    assert "127.0.0.1" in text
    assert SECRET not in text


@pytest.mark.parametrize("password", [_Options(), 5])
def test_a_wrong_password_option_is_not_quoted(password: Any) -> None:
    with pytest.raises(TypeError) as caught:
        DBConnect.from_url("postgresql+asyncpg://me@host/shop", password=password)
    assert SECRET not in str(caught.value)


async def test_a_connection_shows_its_address_only() -> None:
    def make_engine(host: str) -> AsyncEngine:
        return create_async_engine(host)

    for connection in (
        DBConnect.from_url(URL_WITH_SECRETS),
        DBConnect.from_url(make_url(URL_WITH_SECRETS)),
        # An `engine_creator` may take a URL for its host.
        DBConnect(make_engine, async_sessionmaker, URL_WITH_SECRETS),
    ):
        assert repr(connection).startswith("<DBConnect 'host:5432")
        assert SECRET not in repr(connection)
        await connection.session_maker()
        assert connection.name == "host:5432/shop"
        assert SECRET not in repr(connection)
        await connection.close()
    without_user = DBConnect(make_engine, async_sessionmaker, f"postgresql://host/shop?password={SECRET}")
    assert SECRET not in f"{without_user!r} {without_user.name}"


async def test_an_error_is_logged_without_its_statement(connection: DBConnect) -> None:
    with pytest.raises(DBAPIError) as caught:
        await run_in_new_ctx(run, connection, f"SELECT '{SECRET}' FROM missing")
    error = caught.value
    assert SECRET in str(error)
    outer = _NotCopied("outer", error)
    outer.__cause__ = error
    for original in (error, outer):
        copied = without_statements(original)
        text = shown(copied)
        assert SECRET not in str(copied)
        assert "UndefinedTableError" in text
        assert f"[SQL: SELECT '{SECRET}'" not in text
        assert copied.__traceback__ is original.__traceback__
    assert SECRET in str(error), "the application gets what SQLAlchemy has made"
    assert isinstance(without_statements(error), DBAPIError)


class _NotCopied(Exception):  # noqa: N818 - it is one that cannot be copied
    def __init__(self, text: str, cause: Exception) -> None:
        super().__init__(text)
        self.cause = cause


def test_an_error_without_a_statement_is_logged_as_it_is() -> None:
    error = ValueError("as it is")
    error.__context__ = error.__cause__ = KeyError("its cause")
    assert without_statements(error) is error


def test_objects_are_named_by_their_classes() -> None:
    assert [kind_of(each) for each in ("text", 1, URL, _Options())] == [
        "a str",
        "an int",
        "the class sqlalchemy.engine.url.URL",
        "a tests.core.test_secrets._Options",
    ]
