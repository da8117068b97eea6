"""Mistakes are told where they are made, with what to do. What ``setup_db`` refuses is in ``test_setup_db.py``."""

import gc
import logging
import traceback
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, select
from sqlalchemy.exc import MissingGreenlet, StatementError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from context_async_sqlalchemy import (
    DBConnect,
    commit_db_session,
    db_context,
    db_session,
    new_non_ctx_session,
    retried,
    run_in_new_ctx,
)
from context_async_sqlalchemy.adapter_kit import Lifecycle, finish, leave_context, open_context
from tests.conformance.statements import write
from tests.support.connections import connect_to
from tests.support.database import Database
from tests.support.models import Note
from tests.support.ports import free_port


async def _use(connection: DBConnect) -> None:
    async with db_context():
        await (await db_session(connection)).execute(select(1))


def _said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_an_error_of_a_connect_names_the_connection_and_its_host(driver: str) -> None:
    port = free_port()
    connection = DBConnect.from_url(f"postgresql+{driver}://u:Geheim@127.0.0.1:{port}/shop", name="orders")
    with pytest.raises(Exception, match=str(port)) as caught:
        await _use(connection)
    said = _said(caught.value)
    assert f"This happened while connection 'orders' (host '127.0.0.1:{port}', database 'shop') opened a con" in said
    assert "Geheim" not in said
    await connection.close()


async def test_an_error_of_a_connect_names_the_host_in_use(database: Database) -> None:
    connection = connect_to(database.url)
    await _use(connection)
    port = free_port()
    await connection.change_host(f"127.0.0.1:{port}")
    with pytest.raises(OSError, match=str(port)) as caught:
        await _use(connection)
    assert f"(host '127.0.0.1:{port}', database" in _said(caught.value)
    await connection.close()


async def test_a_refused_option_of_the_driver_names_the_connection(database: Database) -> None:
    connection = DBConnect.from_url(database.url, name="orders", connect_args={"time_out": 5})
    with pytest.raises(TypeError, match="time_out") as caught:
        await _use(connection)
    assert "connection 'orders'" in _said(caught.value)
    await connection.close()


def test_an_unknown_option_of_the_engine_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="poolsize"):
        DBConnect.from_url("postgresql+asyncpg://host/shop", poolsize=10)


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("postgresql+asyncpg://host/db", "asyncpg"),
        ("postgresql+psycopg://host/db", r"psycopg\[binary\]"),
        ("sqlite+aiosqlite://", "aiosqlite"),
    ],
)
def test_a_driver_that_is_not_installed_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch, url: str, package: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, make_url(url).get_driver_name(), None)
    with pytest.raises(ImportError, match=rf"the driver of '.*' cannot be imported \(.*pip install '{package}'"):
        DBConnect.from_url(url)


def _ignoring(made: object, _argument: object) -> object:
    return made


async def _no_engine() -> None:
    raise NotImplementedError


async def test_an_engine_that_is_not_async_is_refused() -> None:
    sync_engine = create_engine("sqlite://")
    coroutine = _no_engine()
    for engine in (sync_engine, None, coroutine):
        creator: Any = partial(_ignoring, engine)
        connection = DBConnect(creator, async_sessionmaker, "here", name="orders")
        with pytest.raises(TypeError, match=r"needs an AsyncEngine, got .*(Engine|NoneType|coroutine): make it by"):
            await _use(connection)
    coroutine.close()


async def test_a_session_maker_that_is_not_async_is_refused() -> None:
    creator: Any = sessionmaker
    connection = DBConnect(lambda _: create_async_engine("sqlite+aiosqlite://"), creator, "here", name="orders")
    with pytest.raises(TypeError, match=r"of connection 'orders' must return an async_sessionmaker, and returned a s"):
        await _use(connection)


@pytest.fixture
async def forgotten(database: Database) -> AsyncGenerator[DBConnect]:
    connection = DBConnect.from_url(database.url, name="forgotten")
    yield connection
    await connection.close()


async def _request(lifecycle: Lifecycle, connection: DBConnect) -> None:
    context, token = open_context(lifecycle)
    await (await db_session(connection)).execute(select(1))
    await finish(context, commit=True)
    leave_context(token)


async def test_a_connection_that_was_not_set_up_is_warned_of_once(
    connection: DBConnect, forgotten: DBConnect, caplog: pytest.LogCaptureFixture
) -> None:
    lifecycle = Lifecycle([connection], observers=())
    for _ in range(2):
        await _request(lifecycle, connection)
        await _request(lifecycle, forgotten)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "connection 'forgotten' is used in a request, and was not given to setup_db" in record.getMessage()
    assert "setup_db(app, [..., connection])" in record.getMessage()


async def test_connections_that_are_used_otherwise_are_not_warned_of(
    connection: DBConnect, forgotten: DBConnect, caplog: pytest.LogCaptureFixture
) -> None:
    # An application of the published library gives its middleware no connections, and closes them itself.
    await _request(Lifecycle(observers=()), forgotten)
    # The parent application's rules hold in a mounted application, which has set up a connection of its own.
    own = Lifecycle([forgotten], observers=())
    await _request(Lifecycle([connection], observers=()), forgotten)
    await _use(forgotten)
    assert caplog.messages == []
    await own.shut_down()


# SQLAlchemy does not close the coroutine of the driver that it cannot await.
@pytest.mark.filterwarnings("ignore:coroutine '.*(connect|__aenter__|prepare)' was never awaited:RuntimeWarning")
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize("is_warm", [True, False], ids=["warm pool", "cold pool"])
async def test_a_lazy_load_is_explained(database: Database, driver: str, is_warm: bool) -> None:
    url = make_url(database.url).set(drivername=f"postgresql+{driver}")
    connection = DBConnect(lambda _: create_async_engine(url), async_sessionmaker, "here", name="orders")

    async def load_lazily() -> None:
        async with db_context():
            session = await db_session(connection)
            note = Note(body="expires")
            session.add(note)
            await commit_db_session(connection)
            if not is_warm:
                assert connection.engine is not None
                await connection.engine.dispose()
            print(note.body)  # noqa: T201 - a lazy load

    with pytest.raises((MissingGreenlet, StatementError), match="greenlet_spawn has not been called") as caught:
        await load_lazily()
    said = _said(caught.value)
    assert said.count("SQLAlchemy asked the database outside of an await. An attribute of an object does that") == 1
    assert "await session.refresh(obj, ['name'])" in said
    await connection.close()
    # The coroutine is freed here, and not within another test, where the warning is an error.
    del caught
    gc.collect()


async def test_a_coroutine_in_place_of_a_function_is_refused(connection: DBConnect) -> None:
    with pytest.raises(TypeError, match=r"coroutine of a call: write run_in_new_ctx\(write, \.\.\.\) in place of"):
        await run_in_new_ctx(write(connection, "never"))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="takes a coroutine function and its arguments: got an int"):
        await run_in_new_ctx(5)  # type: ignore[call-overload]


def test_retried_without_parentheses_is_refused() -> None:
    with pytest.raises(TypeError, match=r"write @retried\(Retry\(\)\) above the function, got a function"):
        retried(_no_engine)  # type: ignore[arg-type]


async def test_a_mock_of_a_session_maker_passes() -> None:
    made: list[AsyncSession] = []

    def maker() -> AsyncSession:
        made.append(AsyncSession())
        return made[-1]

    creator: Any = partial(_ignoring, maker)
    connection = DBConnect(lambda _: create_async_engine("sqlite+aiosqlite://"), creator, "here")
    async with new_non_ctx_session(connection) as session:
        assert session is made[0]
    await connection.close()
