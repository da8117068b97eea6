"""The engine of a DBConnect: made before the first session, given, or made by a function that needs no host."""

from unittest.mock import patch

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from context_async_sqlalchemy import DBConnect, db_context, db_session
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.core.observing.engines import select_on
from tests.support.connections import connect_to
from tests.support.database import Database
from tests.support.recorder import Recorder

_SQLITE = "sqlite+aiosqlite://"


def test_an_engine_can_be_had_before_there_is_a_loop() -> None:
    connection = DBConnect.from_url(_SQLITE)
    engine = connection.ensure_engine()
    assert isinstance(engine, AsyncEngine)
    assert connection.ensure_engine() is connection.engine is engine


@pytest.mark.parametrize("is_set_up_first", [True, False])
async def test_an_engine_that_was_made_early_is_the_one_of_the_sessions_and_observed(
    database: Database, is_set_up_first: bool
) -> None:
    connection, recorder = connect_to(database.url), Recorder()
    if is_set_up_first:
        Lifecycle([connection], observers=[recorder])
    engine = connection.ensure_engine()
    if not is_set_up_first:
        Lifecycle([connection], observers=[recorder])
    await select_on(engine)
    async with db_context():
        session = await db_session(connection)
        assert session.bind is engine
        await session.execute(text("SELECT 1"))
    assert len(recorder.checkouts) == 2
    await connection.close()
    assert connection.ensure_engine() is not engine
    await connection.close()


def test_no_engine_can_be_had_without_a_host() -> None:
    connection = DBConnect(lambda _: create_async_engine(_SQLITE), async_sessionmaker)
    with pytest.raises(ValueError, match=r"host is not set.*connect\(host\)"):
        connection.ensure_engine()


def test_the_instrumentation_of_sqlalchemy_may_come_after_the_import() -> None:
    connection = DBConnect.from_url(_SQLITE, pool_recycle=7)
    made = create_async_engine(_SQLITE)
    with patch.object(sqlalchemy_asyncio, "create_async_engine", return_value=made):
        assert connection.ensure_engine() is made


async def test_the_applications_own_engine_is_used_disposed_of_and_used_again(database: Database) -> None:
    engine = create_async_engine(database.url, pool_size=1)
    connection = DBConnect.from_engine(engine, name="main")
    assert (connection.name, connection.ensure_engine()) == ("main", engine)
    for _ in range(2):
        async with db_context():
            session = await db_session(connection)
            assert session.bind is engine
            assert session.sync_session.expire_on_commit is False
            await session.execute(text("SELECT 1"))
        assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]
        await connection.close()
        assert engine.pool.checkedin() == 0  # type: ignore[attr-defined]


async def test_the_applications_own_engine_has_no_other_host() -> None:
    engine = create_async_engine("postgresql+asyncpg://shop@db.example/shop")
    connection = DBConnect.from_engine(engine)
    assert connection.ensure_engine() is engine
    assert connection.name == "db.example/shop"
    for switch in (connection.change_host, connection.connect):
        with pytest.raises(ValueError, match=r"no other host.*from_url"):
            await switch("replica")
    assert connection.engine is engine


def test_a_sync_engine_is_refused() -> None:
    sync_engine = create_engine("sqlite://")
    with pytest.raises(TypeError, match=r"AsyncEngine.*create_async_engine"):
        DBConnect.from_engine(sync_engine)  # type: ignore[arg-type]
    connection = DBConnect(lambda: sync_engine)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"AsyncEngine.*create_async_engine"):
        connection.ensure_engine()
    assert connection.engine is None


async def test_a_function_without_a_host_is_all_that_an_application_of_one_url_needs() -> None:
    connection = DBConnect(engine_creator=lambda: create_async_engine(_SQLITE))
    async with db_context():
        session = await db_session(connection)
        assert session.sync_session.expire_on_commit is False
        assert await session.scalar(text("SELECT 1")) == 1
    await connection.close()
    assert await connection.create_session() is not session
    with pytest.raises(ValueError, match=r"no other host.*takes a host"):
        await connection.change_host("replica")
    await connection.close()


def test_a_host_for_a_function_that_takes_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"takes no host.*'db'"):
        DBConnect(lambda: create_async_engine(_SQLITE), host="db")


async def test_the_default_of_the_functions_host_is_the_first_host() -> None:
    def make_engine(host: str = "primary") -> AsyncEngine:
        return create_async_engine(f"postgresql+asyncpg://shop@{host}/shop")

    connection = DBConnect(make_engine)
    assert connection.ensure_engine().url.host == connection.host == "primary"
    await connection.change_host("replica")
    assert connection.ensure_engine().url.host == "replica"
    await connection.close()
    assert connection.ensure_engine().url.host == "replica"


async def test_an_empty_default_of_the_functions_host_is_no_host() -> None:
    def make_engine(host: str = "") -> AsyncEngine:
        return create_async_engine(f"postgresql+asyncpg://shop@{host}/shop")

    connection = DBConnect(make_engine)
    assert connection.host is None
    await connection.connect("primary")
    assert connection.ensure_engine().url.host == "primary"
    await connection.close()


async def test_a_session_maker_of_ones_own_is_used_with_each_way_to_get_an_engine() -> None:
    class Own(AsyncSession):
        pass

    def make(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
        return async_sessionmaker(engine, class_=Own)

    for connection in (
        DBConnect(lambda: create_async_engine(_SQLITE), make),
        DBConnect.from_engine(create_async_engine(_SQLITE), session_maker_creator=make),
    ):
        assert isinstance(await connection.create_session(), Own)
        await connection.close()
