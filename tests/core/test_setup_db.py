"""setup_db: finding the adapter, and what it refuses."""

import subprocess
import sys
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from sanic import Sanic
from starlette.applications import Starlette

from context_async_sqlalchemy import DBConnect, setup_db


@pytest.fixture
def db() -> DBConnect:
    return DBConnect.from_url("sqlite+aiosqlite://", name="main")


@pytest.mark.parametrize("app", [object(), None, "module:app", web.Application])
def test_an_unknown_application_is_told_which_adapters_there_are(db: DBConnect, app: object) -> None:
    with pytest.raises(TypeError, match=r"adapters found: .*aiohttp.*install this library again with its extra"):
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


@pytest.mark.parametrize(
    "options",
    [{"name": "shop"}, {}],
    ids=["given", "of the URL"],
)
def test_two_connections_of_one_name_are_refused(options: dict[str, Any]) -> None:
    twice = [DBConnect.from_url("postgresql+asyncpg://db/shop", **options) for _ in range(2)]
    with pytest.raises(ValueError, match=r"two connections are called '(shop|db/shop)'.*give each a name of its own"):
        setup_db(web.Application(), twice)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"commit_on": 400}, TypeError, r"commit_on is a function from a status to a bool.*got an int"),
        ({"before_commit": "check"}, TypeError, "before_commit is an async function that takes a session: got a str"),
        ({"after_commit": 1}, TypeError, "after_commit is an async function"),
        ({"leak_threshold": "5"}, TypeError, "leak_threshold is a number of seconds: got a str"),
        ({"leak_threshold": 0}, ValueError, "leak_threshold is in seconds and must be positive: got 0"),
        ({"finish_timeout": None}, TypeError, "finish_timeout is a number of seconds: got a NoneType"),
        ({"drain_timeout": True}, TypeError, "drain_timeout is a number of seconds: got a bool"),
        ({"processes": 0}, ValueError, "processes is the number of processes that run the application: got 0"),
        ({"processes": "4"}, TypeError, "processes is the number of processes that run the application: got a str"),
        (
            {"position": "first"},
            TypeError,
            "position is the index of the middleware, and 0 is the outermost: got a str",
        ),
        (
            {"position": 7},
            ValueError,
            r"position=7 is impossible: the application has 0 middleware\(s\) so far.*between 0 \(outermost\) and 0",
        ),
        ({"position": -1}, ValueError, "position=-1 is impossible"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("framework", [web.Application, Starlette])
def test_options_are_checked(
    db: DBConnect, framework: type, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        setup_db(framework(), [db], **options)


def test_a_rule_that_is_async_is_refused(db: DBConnect) -> None:
    async def commits(_status: int) -> bool:
        return True

    with pytest.raises(TypeError, match="commit_on must not be async, because a coroutine would count as true"):
        setup_db(web.Application(), [db], commit_on=commits)  # type: ignore[arg-type]


async def test_aiohttp_says_that_it_takes_no_handlers_while_it_starts(db: DBConnect) -> None:
    app = web.Application()

    async def set_up(app: web.Application) -> None:
        setup_db(app, [db])

    app.on_startup.append(set_up)
    runner = web.AppRunner(app)
    with pytest.raises(RuntimeError, match=r"called while the application was starting, in on_startup.*run_app\(app\)"):
        await runner.setup()
    await runner.cleanup()


@pytest.mark.parametrize("option", ["finish_timeout", "drain_timeout"])
def test_time_limits_are_positive(db: DBConnect, option: str) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        setup_db(web.Application(), [db], **{option: 0.0})  # type: ignore[arg-type]


def test_an_unknown_option_is_an_error(db: DBConnect) -> None:
    # Type checkers report it too: mypy would complain of a comment here that nothing needs.
    with pytest.raises(TypeError, match=r"no option 'comit_on' for aiohttp: did you mean 'commit_on'\?") as caught:
        setup_db(web.Application(), [db], comit_on=bool)  # type: ignore[call-arg]
    assert "The options of aiohttp: metrics_path, position; of every framework: after_commit" in str(caught.value)


def test_an_option_of_another_framework_is_an_error(db: DBConnect) -> None:
    app: Any = Sanic("refused")
    with pytest.raises(TypeError, match=r"no option 'position' for sanic\. The options of sanic: metrics_path; of"):
        setup_db(app, [db], position=1)
    app.unregister_app(app)


def test_a_middleware_of_no_module_is_as_good_as_any(db: DBConnect) -> None:
    app = web.Application()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await handler(request)

    middleware.__module__ = None  # type: ignore[assignment]  # as of a function that `exec` has made
    app.middlewares.append(middleware)
    setup_db(app, [db])
    assert app.middlewares[-1] is middleware


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
