"""setup_db: finding the adapter, and what it refuses."""

import subprocess
import sys

import pytest
from aiohttp import web

from context_async_sqlalchemy import DBConnect, setup_db


@pytest.fixture
def db() -> DBConnect:
    return DBConnect.from_url("sqlite+aiosqlite://", name="main")


@pytest.mark.parametrize("app", [object(), None, "module:app", web.Application])
def test_an_unknown_application_is_told_which_adapters_there_are(db: DBConnect, app: object) -> None:
    with pytest.raises(TypeError, match=r"adapters found: .*aiohttp.*pip install"):
        setup_db(app, [db])


def test_a_subclass_of_a_known_application_is_known(db: DBConnect) -> None:
    with pytest.warns(DeprecationWarning, match="Inheritance class"):

        class Own(web.Application):
            pass

    setup_db(Own(), [db])


@pytest.mark.parametrize(
    ("connections", "error", "message"),
    [
        ("twice", ValueError, "given twice"),
        ("bare", TypeError, r"takes a list of connections: setup_db\(app, \[connection\]\)"),
        ("wrong", TypeError, r"DBConnect objects, got a str.*DBConnect\.from_url"),
    ],
)
def test_connections_are_checked(db: DBConnect, connections: str, error: type[Exception], message: str) -> None:
    given: dict[str, object] = {"twice": [db, db], "bare": db, "wrong": ["postgresql://host"]}
    with pytest.raises(error, match=message):
        setup_db(web.Application(), given[connections])  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["finish_timeout", "drain_timeout"])
def test_time_limits_are_positive(db: DBConnect, option: str) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        setup_db(web.Application(), [db], **{option: 0.0})  # type: ignore[arg-type]


def test_an_unknown_option_is_an_error(db: DBConnect) -> None:
    with pytest.raises(TypeError, match="comit_on"):
        setup_db(web.Application(), [db], comit_on=bool)


def test_a_refused_set_up_leaves_the_application_as_it_was(db: DBConnect) -> None:
    app = web.Application()
    with pytest.raises(ValueError, match="twice"):
        setup_db(app, [db, db])
    setup_db(app, [db])


def test_the_core_imports_sqlalchemy_and_the_standard_library_only() -> None:
    probe = """
import sys, sqlalchemy.ext.asyncio
before = set(sys.modules)
import context_async_sqlalchemy, context_async_sqlalchemy.test_utils
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(tops - set(sys.stdlib_module_names) - {"context_async_sqlalchemy", "sqlalchemy", "greenlet"}))
"""
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)  # noqa: S603
    assert result.stdout.strip() == "[]"
