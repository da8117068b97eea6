"""DBConnect: made lazily, once; switching hosts; disposal."""

import asyncio
import gc
import time
import weakref

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import Pool, QueuePool

from context_async_sqlalchemy import DBConnect, close_db_session, commit_db_session, db_context, db_session
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.support.connections import connect_to, in_use
from tests.support.database import Database
from tests.support.proxy import Proxy
from tests.support.recorder import Recorder
from tests.support.waiting import turns, until_async


def _maker(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(engine)


async def test_nothing_is_made_before_the_first_session(database: Database) -> None:
    made: list[str] = []

    def make_engine(host: str) -> AsyncEngine:
        made.append(host)
        return create_async_engine(database.url)

    connection = DBConnect(make_engine, _maker, "primary")
    assert made == []
    makers = await asyncio.gather(*(connection.session_maker() for _ in range(5)))
    assert made == ["primary"]
    assert len(set(map(id, makers))) == 1
    await connection.close()


async def test_a_closed_connection_is_made_anew(connection: DBConnect) -> None:
    first = await connection.session_maker()
    await connection.close()
    assert connection.engine is None
    assert await connection.session_maker() is not first


async def test_from_url_keeps_objects_readable_after_a_commit_and_passes_engine_options(database: Database) -> None:
    connection = DBConnect.from_url(database.url, pool_size=3)
    session = await connection.create_session()
    assert session.sync_session.expire_on_commit is False
    assert connection.engine is not None
    assert connection.engine.sync_engine.pool.size() == 3  # type: ignore[attr-defined]
    await connection.close()


async def test_a_wait_for_a_connection_may_have_no_limit(database: Database) -> None:
    connection = DBConnect.from_url(database.url, pool_timeout=None)
    await connection.create_session()
    assert connection.engine is not None
    assert connection.engine.sync_engine.pool.timeout() is None  # type: ignore[attr-defined]
    await connection.close()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql+asyncpg://u:p@db.example:5432/shop", "db.example:5432/shop"),
        ("postgresql+asyncpg://db.example/shop", "db.example/shop"),
        ("sqlite+aiosqlite:///shop.db", "shop.db"),
    ],
)
async def test_a_connection_without_a_name_is_called_by_its_address(url: str, name: str) -> None:
    connection = DBConnect.from_url(url)
    await connection.session_maker()
    assert connection.name == name
    await connection.close()


async def test_the_name_given_wins() -> None:
    assert DBConnect.from_url("sqlite+aiosqlite://", name="main").name == "main"


@pytest.mark.parametrize("url", ["postgresql+psycopg2://host/db", "sqlite:///x.db"])
def test_a_sync_driver_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"async driver.*postgresql\+asyncpg"):
        DBConnect.from_url(url)


async def test_an_empty_host_is_refused(connection: DBConnect) -> None:
    for switch in (connection.connect, connection.change_host):
        with pytest.raises(ValueError, match="must not be empty"):
            await switch("")
    with pytest.raises(ValueError, match="must not be empty"):
        DBConnect(lambda _: create_async_engine("sqlite+aiosqlite://"), _maker, "")


async def test_a_connection_without_a_host_says_what_to_do() -> None:
    connection = DBConnect(lambda _: create_async_engine("sqlite+aiosqlite://"), _maker)
    with pytest.raises(ValueError, match=r"host is not set.*connect\(host\)"):
        await connection.session_maker()


async def test_connect_names_the_host(database: Database) -> None:
    connection = DBConnect(lambda _: create_async_engine(database.url), _maker)
    await connection.connect("primary")
    assert connection.host == "primary"
    assert (await connection.create_session()).bind is connection.engine
    await connection.close()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("replica", ("replica", 5432)),
        ("replica:6000", ("replica", 6000)),
        ("[::1]:6000", ("::1", 6000)),
        ("::1", ("::1", 5432)),
    ],
)
async def test_change_host_replaces_the_address_of_the_url(host: str, expected: tuple[str, int]) -> None:
    connection = DBConnect.from_url("postgresql+asyncpg://u:p@primary:5432/shop")
    await connection.change_host(host)
    assert connection.engine is not None
    assert (connection.engine.url.host, connection.engine.url.port) == expected
    assert connection.engine.url.password == "p"  # noqa: S105
    await connection.close()


async def test_change_host_to_the_host_in_use_changes_nothing(connection: DBConnect) -> None:
    await connection.session_maker()
    engine = connection.engine
    await connection.change_host(connection.host or "")
    assert connection.engine is engine


async def test_tasks_that_race_to_change_the_host_make_one_engine(database: Database) -> None:
    made: list[str] = []

    def make_engine(host: str) -> AsyncEngine:
        made.append(host)
        return create_async_engine(database.url)

    connection = DBConnect(make_engine, _maker, "primary")
    await connection.session_maker()
    await asyncio.gather(*(connection.change_host("replica") for _ in range(5)))
    assert made == ["primary", "replica"]
    await connection.close()


async def test_an_engine_that_cannot_be_made_leaves_the_old_one_in_use(database: Database) -> None:
    def make_engine(host: str) -> AsyncEngine:
        if host == "bad":
            raise KeyError(host)
        return create_async_engine(database.url)

    connection = DBConnect(make_engine, _maker, "primary")
    maker = await connection.session_maker()
    with pytest.raises(KeyError):
        await connection.change_host("bad")
    assert connection.host == "primary"
    assert await connection.session_maker() is maker
    await connection.close()


async def test_a_session_in_flight_finishes_on_the_old_host_and_leaves_nothing_there(database: Database) -> None:
    url = make_url(database.url)
    connection = connect_to(database.url)
    async with Proxy(str(url.host), url.port or 5432) as other_address:
        async with db_context():
            session = await db_session(connection)
            await session.execute(text("INSERT INTO notes (body) VALUES ('in flight')"))
            old = session.bind
            await connection.change_host(f"127.0.0.1:{other_address.port}")
            async with db_context():
                new_session = await db_session(connection)
                assert new_session.bind is connection.engine
                assert new_session.bind is not old
                await new_session.execute(text("SELECT 1"))
                assert await database.backends() == 2
            # Still on the old engine, and able to go on.
            await session.execute(text("INSERT INTO notes (body) VALUES ('goes on')"))
        assert await database.notes() == ["goes on", "in flight"]

        async def only_the_new_one_is_left() -> bool:
            return await database.backends() == 1

        await until_async(only_the_new_one_is_left, "the old engine's connection is closed as it comes back")
        assert in_use(connection) == 0
        await connection.close()
        await database.wait_for_backends("true", count=0)


async def test_after_an_early_close_db_session_is_on_the_new_host(database: Database) -> None:
    url = make_url(database.url)
    connection = connect_to(database.url)
    async with Proxy(str(url.host), url.port or 5432) as other_address:
        async with db_context():
            session = await db_session(connection)
            await connection.change_host(f"127.0.0.1:{other_address.port}")
            await commit_db_session(connection)
            assert await db_session(connection) is session
            await close_db_session(connection)
            assert (await db_session(connection)).bind is connection.engine
        await connection.close()


@pytest.mark.parametrize("switches", [True, False], ids=["change_host", "close"])
async def test_a_server_that_answers_no_more_is_not_waited_for(
    database: Database, switches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context_async_sqlalchemy._engine_disposal.CLOSE_TIMEOUT", 0.5)
    url = make_url(database.url)
    async with Proxy(str(url.host), url.port or 5432) as proxy:
        connection = connect_to(url.set(port=proxy.port).render_as_string(hide_password=False), pool_size=10)
        await _fill_pool(connection, 10)
        pool = connection.engine.sync_engine.pool if connection.engine is not None else None
        assert isinstance(pool, QueuePool)
        assert pool.checkedin() == 10
        proxy.freeze()
        started = time.monotonic()
        await (connection.change_host(f"{url.host}:{url.port}") if switches else connection.close())
        # One after another they would take that long each.
        assert time.monotonic() - started < 10 * 0.5
        assert pool.checkedin() == 0
        if switches:
            async with db_context():
                await (await db_session(connection)).execute(text("SELECT 1"))
    # The proxy passes on, now that it is over, that the application has hung up.
    await connection.close()
    await database.wait_for_backends("true", count=0)


async def _fill_pool(connection: DBConnect, count: int) -> None:
    sessions = [await connection.create_session() for _ in range(count)]
    for session in sessions:
        await session.execute(text("SELECT 1"))
    for session in sessions:
        await session.close()


async def test_a_session_in_flight_leaves_nothing_on_the_old_host_whatever_it_begins_there(database: Database) -> None:
    url = make_url(database.url)
    connection = connect_to(database.url)
    async with Proxy(str(url.host), url.port or 5432) as other_address:
        async with db_context():
            session = await db_session(connection)
            await session.execute(text("INSERT INTO notes (body) VALUES ('first')"))
            await connection.change_host(f"127.0.0.1:{other_address.port}")
            await commit_db_session(connection)
            await session.execute(text("INSERT INTO notes (body) VALUES ('second')"))
            await commit_db_session(connection)
        assert await database.notes() == ["first", "second"]
        await database.wait_for_backends("true", count=0)
        await connection.close()


async def test_an_engine_that_is_used_again_after_it_was_replaced_keeps_its_connections(database: Database) -> None:
    engines = {host: create_async_engine(database.url) for host in ("one", "other")}
    connection = DBConnect(engines.__getitem__, _maker, "one")
    for host in ("one", "other", "one"):
        await connection.change_host(host)
        await _fill_pool(connection, 1)
    pool = engines["one"].sync_engine.pool
    assert isinstance(pool, QueuePool)
    # Nothing is closed in the turns of the loop that follow.
    await turns(3)
    assert pool.checkedin() == 1
    await connection.close()


async def test_switching_to_and_fro_between_two_engines_leaves_nothing_behind(database: Database) -> None:
    engines = {host: create_async_engine(database.url) for host in ("one", "other")}
    connection = DBConnect(engines.__getitem__, _maker, "other")
    pools: weakref.WeakSet[Pool] = weakref.WeakSet()
    listeners: list[int] = []
    for _ in range(6):
        for host in ("one", "other"):
            async with db_context():
                # A session in flight gives its connection back to a pool that was replaced.
                await (await db_session(connection)).execute(text("SELECT 1"))
                await connection.change_host(host)
            pools.update(engine.sync_engine.pool for engine in engines.values())
        # The connections that came back are closed in the turns of the loop that follow.
        await turns(3)
        listeners.append(sum(len(list(engine.sync_engine.pool.dispatch.checkin)) for engine in engines.values()))
    await connection.close()
    assert set(listeners) == {1}
    gc.collect()
    assert len(pools) == 2


async def test_an_observer_that_has_left_can_come_back(database: Database) -> None:
    connection = connect_to(database.url)
    checkouts: list[int] = []
    for _ in range(2):
        recorder = Recorder()
        lifecycle = Lifecycle([connection], observers=[recorder])
        async with db_context():
            await (await db_session(connection)).execute(text("SELECT 1"))
        connection.observe_no_more(lifecycle.observation)
        async with db_context():
            await (await db_session(connection)).execute(text("SELECT 1"))
        checkouts.append(len(recorder.checkouts))
    assert checkouts == [1, 1]
    await connection.close()
