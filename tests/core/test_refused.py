"""Each public function refuses a wrong type or value where it is passed, by a sentence that names the argument.

Options of ``setup_db`` that ``test_setup_db.py`` has, and arguments that ``test_mistakes.py`` has, are not repeated.
"""

import re
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import falcon.asgi
import pytest
from aiohttp import web
from litestar import Litestar
from quart import Quart
from sanic import Sanic
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Session
from starlette.applications import Starlette

import context_async_sqlalchemy_aiohttp
import context_async_sqlalchemy_asgi.falcon
import context_async_sqlalchemy_asgi.litestar
import context_async_sqlalchemy_asgi.quart
import context_async_sqlalchemy_asgi.starlette
import context_async_sqlalchemy_sanic
from context_async_sqlalchemy import (
    ASGIHTTPDBSessionMiddleware,
    DBConnect,
    Retry,
    atomic_db_session,
    auto_commit_by_status_code,
    close_db_session,
    commit_all_sessions,
    commit_db_session,
    db_context,
    db_session,
    get_db_session_from_context,
    new_non_ctx_atomic_session,
    new_non_ctx_session,
    pop_db_session_from_context,
    put_db_session_to_context,
    reset_db_session_ctx,
    retried,
    rollback_db_session,
    run_in_new_ctx,
    setup_db,
)
from context_async_sqlalchemy.observer import Observer
from context_async_sqlalchemy.starlette_utils import (
    StarletteHTTPDBSessionMiddleware,
    add_starlette_http_db_session_middleware,
)
from context_async_sqlalchemy.test_utils import put_savepoint_session_in_ctx, rollback_session, rolled_back
from context_async_sqlalchemy_asgi import DBContextMiddleware
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver
from context_async_sqlalchemy_prometheus import PrometheusObserver
from context_async_sqlalchemy_sanic import session_of

URL = "postgresql+asyncpg://u:hunter2@127.0.0.1:1/shop"

# Any, because a type checker refuses each of these calls too.
Connect: Any = DBConnect
Middleware: Any = ASGIHTTPDBSessionMiddleware
StarletteMiddleware: Any = StarletteHTTPDBSessionMiddleware
WRONG: Any = "hunter2"


def _engine() -> AsyncEngine:
    return create_async_engine(URL)


def _with_host(_host: str) -> AsyncEngine:
    return create_async_engine(URL)


async def _async(*_arguments: object) -> Any:
    return None


def _sync(*_arguments: object) -> Any:
    return 5


async def _asgi_app(_scope: object, _receive: object, _send: object) -> None:
    """Answer nothing."""


def _set_up(**options: Any) -> None:
    connections = options.pop("connections", [Connect.from_url(URL)])
    setup_db(web.Application(), connections, **options)


Refused = tuple[Callable[[], object], type[Exception], str]

AT_ONCE: dict[str, Refused] = {
    "DBConnect(url)": (
        lambda: Connect(URL),
        TypeError,
        r"engine_creator is a function .* AsyncEngine: got a str\. .*fr",
    ),
    "DBConnect(engine)": (lambda: Connect(_engine()), TypeError, r"engine_creator .*DBConnect\.from_engine\(engine\)"),
    "DBConnect(async)": (
        lambda: Connect(_async),
        TypeError,
        "engine_creator returns an AsyncEngine, and must not be a",
    ),
    "session_maker_creator": (
        lambda: Connect(_engine, 5),
        TypeError,
        "session_maker_creator is a function .*got an int",
    ),
    "async maker": (lambda: Connect(_engine, _async), TypeError, "session_maker_creator .* must not be async"),
    "host": (lambda: Connect(_with_host, host=5), TypeError, "the host is a str: got an int"),
    "name": (lambda: Connect.from_url(URL, name=5), TypeError, "the name of a DBConnect is a str: got an int"),
    "empty name": (lambda: Connect.from_url(URL, name=""), ValueError, "the name of a DBConnect is not empty: "),
    "empty name of an engine": (lambda: Connect.from_engine(_engine(), name=""), ValueError, "name of a DBConnect is"),
    "handler": (
        lambda: Connect.from_url(URL, before_create_session_handler=5),
        TypeError,
        "before_create_session_handler is an async function that takes a DBConnect: got an int",
    ),
    "from_engine": (lambda: Connect.from_engine(URL), TypeError, "a DBConnect needs an AsyncEngine, got str"),
    "pool_size": (
        lambda: Connect.from_url(URL, pool_size="10"),
        TypeError,
        "pool_size is a whole number .*: got a str",
    ),
    "pool_size < 0": (lambda: Connect.from_url(URL, pool_size=-5), ValueError, "pool_size .*not less than 0: got -5"),
    "max_overflow": (
        lambda: Connect.from_url(URL, max_overflow=1.5),
        TypeError,
        "max_overflow is a whole number .*float",
    ),
    "pool_timeout": (
        lambda: Connect.from_url(URL, pool_timeout="5"),
        TypeError,
        "pool_timeout is a number of seconds, None for no limit: g",
    ),
    "pool_timeout < 0": (lambda: Connect.from_url(URL, pool_timeout=-1), ValueError, "pool_timeout .*: got -1"),
    "pool_recycle": (
        lambda: Connect.from_url(URL, pool_recycle=None),
        TypeError,
        "pool_recycle is a number of seconds",
    ),
    "connect_args": (
        lambda: Connect.from_url(URL, connect_args=[]),
        TypeError,
        "connect_args is a dict .*: got a list",
    ),
    "max_wait": (lambda: Connect.from_url(URL, max_wait=0), ValueError, "max_wait is a positive number of seconds"),
    "max_waiting": (lambda: Connect.from_url(URL, max_waiting=1.5), TypeError, "max_waiting is a whole number .*floa"),
    "attempts": (lambda: Retry(attempts=WRONG), TypeError, r"Retry\(attempts=\.\.\.\) is a whole number: got a str"),
    "attempts = 0": (lambda: Retry(attempts=0), ValueError, r"Retry\(attempts=\.\.\.\) must be positive: got 0"),
    "base_delay": (lambda: Retry(base_delay=WRONG), TypeError, r"Retry\(base_delay=\.\.\.\) is a number of seconds"),
    "max_delay < 0": (lambda: Retry(max_delay=-1), ValueError, r"Retry\(max_delay=\.\.\.\) is in seconds .*got -1"),
    "max_delay NaN": (lambda: Retry(max_delay=float("nan")), ValueError, r"Retry\(max_delay=\.\.\.\)"),
    "retried": (
        lambda: retried(Retry())(WRONG),
        TypeError,
        r"@retried\(\.\.\.\) stands above an async function: got a s",
    ),
    "connections": (
        lambda: _set_up(connections=None),
        TypeError,
        r"list of connections: .*\[connection\]\), and not a None",
    ),
    "metrics_path": (
        lambda: _set_up(metrics_path=5),
        TypeError,
        "metrics_path is the path of a route, or None: got an int",
    ),
    **{
        f"metrics_path {path!r}": (
            partial(_set_up, metrics_path=path),
            ValueError,
            rf"metrics_path is one path, without a variable part.* which has {re.escape(repr(wrong))}",
        )
        for path, wrong in {
            "/{x}": "{",
            "/<x>": "<",
            "/<x:path>": "<",
            "/metrics?x": "?",
            "/metrics#x": "#",
            "/me trics": " ",
            "/metrics\r\n": "\r",
            "/metrics\u2028": "\u2028",
        }.items()
    },
    "inspector_path": (
        lambda: _set_up(inspector_path="/d b"),
        ValueError,
        "inspector_path is one path, without a variable part",
    ),
    "observers": (
        lambda: _set_up(observers=Observer()),
        TypeError,
        r"observers is a list: observers=\[observer\], and not a",
    ),
    "leak_stacks": (lambda: _set_up(leak_stacks="no"), TypeError, "leak_stacks is True or False: got a str"),
    "check_at_start": (lambda: _set_up(check_at_start=1), TypeError, "check_at_start is True or False: got an int"),
    "answer_503": (lambda: _set_up(answer_503=None), TypeError, "answer_503 is True or False: got a NoneType"),
    "processes": (lambda: _set_up(processes=True), TypeError, "processes is the number of processes .*: got a bool"),
    "max_routes": (lambda: _set_up(max_routes=0), ValueError, "max_routes must be positive: got 0"),
    "middleware": (lambda: Middleware(None), TypeError, "the middleware takes an ASGI application: got a NoneType"),
    "middleware's option": (
        lambda: Middleware(_asgi_app, comit_on=bool),
        TypeError,
        "no option 'comit_on': did you mean 'commit_on'",
    ),
    "middleware's hook": (lambda: Middleware(_asgi_app, 5), TypeError, "before_commit is an async function .*an int"),
    "middleware's Lifecycle": (
        lambda: DBContextMiddleware(_asgi_app, WRONG),
        TypeError,
        "takes a Lifecycle, .*got a str",
    ),
    "dispatch": (lambda: StarletteMiddleware(_asgi_app, 5), TypeError, "dispatch is an async function .*: got an int"),
    "add to": (lambda: add_starlette_http_db_session_middleware(WRONG), TypeError, "to a Starlette .*, got a str"),
    "added hook": (
        lambda: add_starlette_http_db_session_middleware(Starlette(), WRONG),
        TypeError,
        "before_commit is an async function that takes a session: got a str",
    ),
    "registry": (
        lambda: PrometheusObserver(WRONG),
        TypeError,
        "PrometheusObserver takes a CollectorRegistry .*: got a s",
    ),
    "tracer_provider": (lambda: OpenTelemetryObserver(WRONG), TypeError, "tracer_provider is a provider .*: got a st"),
    "meter_provider": (
        lambda: OpenTelemetryObserver(None, WRONG),
        TypeError,
        "meter_provider is a provider .*: got a str",
    ),
    "session_of": (lambda: session_of(WRONG), TypeError, "session_of takes a DBConnect, got a str"),
}


@pytest.mark.parametrize(("call", "error", "message"), AT_ONCE.values(), ids=AT_ONCE)
def test_a_wrong_argument_is_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert "hunter2" not in str(caught.value)


async def _enter(block: AbstractAsyncContextManager[object]) -> None:
    async with block:
        pass


async def _enter_with(make: Callable[..., AbstractAsyncContextManager[object]]) -> None:
    async with make(WRONG):
        pass


async def _call(function: Callable[..., Awaitable[object]], argument: Any) -> None:
    await function(argument)


async def _now(function: Callable[..., object], *arguments: object) -> None:
    function(*arguments)


async def _commit_by(hook: Any) -> None:
    connection = DBConnect.from_url("sqlite+aiosqlite://")
    try:
        await (await db_session(connection)).connection()
        await commit_all_sessions(hook)
    finally:
        await connection.close()


Awaited = tuple[Callable[[], Awaitable[object]], str]
_NEEDED = "a DBConnect is needed, as it is given to setup_db: got "

CONNECTION_TAKERS: tuple[Callable[..., Awaitable[object]], ...] = (
    db_session,
    commit_db_session,
    rollback_db_session,
    close_db_session,
)
BLOCKS: tuple[Callable[..., AbstractAsyncContextManager[object]], ...] = (
    atomic_db_session,
    new_non_ctx_session,
    new_non_ctx_atomic_session,
    rolled_back,
    rollback_session,
)

IN_A_CONTEXT: dict[str, Awaited] = {
    **{
        f"{getattr(function, '__name__', '')}({argument!r:.20})": (partial(_call, function, argument), _NEEDED)
        for function in CONNECTION_TAKERS
        for argument in (URL, None, DBConnect)
    },
    **{getattr(block, "__name__", ""): (partial(_enter_with, block), _NEEDED) for block in BLOCKS},
    "put_savepoint_session_in_ctx": (lambda: _enter(put_savepoint_session_in_ctx(WRONG, WRONG)), _NEEDED),
    "turn_timeout": (
        lambda: _enter(rolled_back(Connect.from_url(URL), turn_timeout=WRONG)),
        "turn_timeout is a number of seconds: got a str",
    ),
    "get": (lambda: _now(get_db_session_from_context, URL), _NEEDED),
    "pop": (lambda: _now(pop_db_session_from_context, URL), _NEEDED),
    "put": (lambda: _now(put_db_session_to_context, URL, URL), _NEEDED),
    "put session": (
        lambda: _now(put_db_session_to_context, Connect.from_url(URL), Session()),
        "put_db_session_to_context takes an AsyncSession: got a sqlalchemy.*Session",
    ),
    "reset": (lambda: reset_db_session_ctx(WRONG), "reset_db_session_ctx takes the token .*: got a str"),
    "status": (lambda: auto_commit_by_status_code(WRONG), "takes the status of a response: got a str"),
    "before_commit": (lambda: commit_all_sessions(WRONG), "before_commit is an async function .*: got a str"),
    "sync before_commit": (lambda: _commit_by(_sync), "before_commit must be an async function.*has returned an int"),
    "sync function": (lambda: run_in_new_ctx(_sync), "the function of run_in_new_ctx must be an async function"),
    "sync retried": (retried(Retry())(_sync), "the function of @retried must be an async function: write async def"),
    "sync handler": (
        lambda: db_session(Connect.from_url(URL, before_create_session_handler=_sync)),
        "before_create_session_handler must be an async function",
    ),
    "change_host": (lambda: Connect.from_url(URL).change_host(5), "the host is a str: got an int"),
    "connect": (lambda: Connect.from_url(URL).connect(None), "the host is a str: got a NoneType"),
}


@pytest.mark.parametrize(("call", "message"), IN_A_CONTEXT.values(), ids=IN_A_CONTEXT)
async def test_a_wrong_argument_is_refused_in_a_context(
    call: Callable[[], Coroutine[Any, Any, object]], message: str
) -> None:
    with pytest.raises(TypeError, match=message) as caught:
        async with db_context():
            await call()
    assert "hunter2" not in str(caught.value)


def _sanic() -> Any:
    return Sanic("refused", configure_logging=False)


ADAPTERS: dict[str, tuple[Any, Callable[[], Any]]] = {
    "aiohttp": (context_async_sqlalchemy_aiohttp, web.Application),
    "falcon": (context_async_sqlalchemy_asgi.falcon, falcon.asgi.App),
    "litestar": (context_async_sqlalchemy_asgi.litestar, lambda: Litestar([])),
    "quart": (context_async_sqlalchemy_asgi.quart, lambda: Quart("refused")),
    "sanic": (context_async_sqlalchemy_sanic, _sanic),
    "starlette": (context_async_sqlalchemy_asgi.starlette, Starlette),
}


@pytest.mark.parametrize(("adapter", "make_app"), ADAPTERS.values(), ids=ADAPTERS)
def test_an_adapters_own_setup_db_refuses_an_unknown_option(adapter: Any, make_app: Callable[[], Any]) -> None:
    app = make_app()
    try:
        with pytest.raises(TypeError, match="setup_db has no option 'comit_on': did you mean 'commit_on'") as caught:
            adapter.setup_db(app, [Connect.from_url(URL)], comit_on=bool)
        assert "The options of every framework: after_commit, answer_503, before_commit" in str(caught.value)
    finally:
        if adapter is context_async_sqlalchemy_sanic:
            app.unregister_app(app)
