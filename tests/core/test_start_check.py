"""The check at the start: its sentences on both drivers, and the connections that the pools may open."""

import asyncio
import logging
import sys
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool

from context_async_sqlalchemy import DBConnect, StartCheckError
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.support.database import Database
from tests.support.frozen import behind_proxy
from tests.support.ports import free_port
from tests.support.roles import role

on_each_driver = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])


async def _start(*connections: DBConnect, processes: int | None = None, workers: int | None = None) -> None:
    lifecycle = Lifecycle(connections, observers=(), check_at_start=True, processes=processes)
    await lifecycle.start(workers)
    await lifecycle.shut_down()


async def _failure(*connections: DBConnect) -> StartCheckError:
    with pytest.raises(StartCheckError) as caught:
        await _start(*connections)
    assert [connection.engine for connection in connections] == [None] * len(connections)
    return caught.value


@on_each_driver
async def test_a_wrong_password_is_told_and_not_shown(database: Database, driver: str) -> None:
    async with role(database.url) as shopkeeper:
        url = shopkeeper.url.set(drivername=f"postgresql+{driver}", password="Geheim")  # noqa: S106 - no secret
        error = await _failure(DBConnect.from_url(url, name="shop"))
    assert str(error).startswith("the application does not start, because check_at_start found: connection 'shop' (")
    assert 'password authentication failed for user "shopkeeper"' in str(error)
    assert "correct the " in str(error)
    assert "Geheim" not in str(error)
    assert error.__cause__ is not None


async def test_a_password_that_the_driver_repeats_is_not_shown() -> None:
    def connect(**_options: object) -> None:
        raise ValueError("cannot connect by Geheim")

    url = "postgresql+asyncpg://u:Geheim@127.0.0.1/shop"
    error = await _failure(DBConnect.from_url(url, name="shop", async_creator=connect))
    assert "[ValueError: cannot connect by ***]" in str(error)


@on_each_driver
async def test_each_connection_that_cannot_be_opened_is_named(database: Database, driver: str) -> None:
    good = DBConnect.from_url(database.url, name="good")
    port = free_port()
    down = DBConnect.from_url(f"postgresql+{driver}://u@127.0.0.1:{port}/shop", name="down")
    nowhere = DBConnect.from_url(
        make_url(database.url).set(database="nowhere", drivername=f"postgresql+{driver}"), name="nowhere"
    )
    error = await _failure(good, down, nowhere)
    assert [problem.split(" (")[0] for problem in error.problems] == ["connection 'down'", "connection 'nowhere'"]
    assert f"host '127.0.0.1:{port}', database 'shop') cannot be opened" in error.problems[0]
    assert 'database "nowhere" does not exist' in error.problems[1]


async def test_a_silent_server_is_not_waited_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("context_async_sqlalchemy.adapter_kit.start_check.CONNECT_TIMEOUT", 0.2)
    async with behind_proxy(database.url) as (connection, proxy):
        proxy.freeze()
        error = await asyncio.wait_for(_failure(connection), 3)
    assert "no answer within 0.2 s; correct the host, or look for a firewall in between" in str(error)


async def test_a_connection_without_a_host_is_told(database: Database) -> None:
    connection = DBConnect(lambda _: create_async_engine(database.url), async_sessionmaker, name="shop")
    error = await _failure(connection)
    assert "connection 'shop' cannot be opened" in str(error)
    assert "host is not set for connection 'shop'" in str(error)


async def test_the_handler_before_a_session_chooses_the_host(database: Database) -> None:
    url = make_url(database.url)

    async def to_the_living(connection: DBConnect) -> None:
        await connection.change_host(f"{url.host}:{url.port}")

    dead = url.set(port=free_port())
    await _start(DBConnect.from_url(dead, name="shop", before_create_session_handler=to_the_living))


async def test_any_database_is_opened() -> None:
    await _start(DBConnect.from_url("sqlite+aiosqlite://", name="memory"))


async def _limits(database: Database) -> tuple[int, int]:
    engine = create_async_engine(database.url, poolclass=NullPool)
    query = "SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int"
    async with engine.connect() as connection:
        most, reserved = (await connection.execute(text(query))).one()
    return most, reserved


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@on_each_driver
async def test_pools_beyond_the_limit_of_the_server_are_warned_of(
    database: Database, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    most, reserved = await _limits(database)
    room = most - reserved
    async with role(database.url, password="known") as shopkeeper:  # noqa: S106 - no secret
        url = shopkeeper.url.set(drivername=f"postgresql+{driver}")
        address = f"{url.host}:{url.port}"

        async def start(overflow: int) -> None:
            shop = DBConnect.from_url(url, name="shop", pool_size=10, max_overflow=overflow)
            reports = DBConnect.from_url(url, name="reports", pool_size=1, max_overflow=0)
            await _start(shop, reports, processes=2)

        await start(room // 2 - 11)
        assert _warnings(caplog) == []
        await start(room // 2 - 10)
    total = 2 * (room // 2 + 1)
    (warning,) = _warnings(caplog)
    assert warning == (
        f"the pools may open more connections than the server {address} allows: 2 processes x ('shop' 10 + "
        f"{room // 2 - 10} overflow, 'reports' 1 + 0 overflow) = {total}, and there are {room} (max_connections {most} "
        f"- {reserved} for superusers), also for other clients. Make the pools smaller (pool_size, max_overflow), run "
        "fewer processes, or raise the limit. setup_db(processes=...) corrects the number of processes"
    )


async def test_a_superuser_may_use_what_is_reserved(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    most, _ = await _limits(database)
    await _start(DBConnect.from_url(database.url, name="admin", pool_size=most, max_overflow=0))
    assert _warnings(caplog) == []
    await _start(DBConnect.from_url(database.url, name="admin", pool_size=most, max_overflow=1))
    assert f"= {most + 1}, and there are {most} (max_connections {most})" in _warnings(caplog)[0]


async def test_the_limits_of_the_role_and_of_the_database_count(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    name = make_url(database.url).database
    admin = create_async_engine(database.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    async with role(database.url, password="known", limit=7) as shopkeeper, admin.connect() as connection:  # noqa: S106 - no secret
        await connection.execute(text(f'ALTER DATABASE "{name}" CONNECTION LIMIT 9'))
        try:
            await _start(DBConnect.from_url(shopkeeper.url, name="shop", pool_size=4, max_overflow=3), processes=1)
            assert _warnings(caplog) == []
            await _start(DBConnect.from_url(shopkeeper.url, name="shop", pool_size=4, max_overflow=1), processes=2)
        finally:
            await connection.execute(text(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1'))
    of_role, of_database = _warnings(caplog)
    assert "than the role 'shopkeeper' of the server" in of_role
    assert "2 processes x ('shop' 4 + 1 overflow) = 10, and there are 7 (its CONNECTION LIMIT)" in of_role
    assert f"than the database '{name}' of the server" in of_database
    assert "= 10, and there are 9 (its CONNECTION LIMIT)" in of_database


@pytest.mark.parametrize(
    ("processes", "workers", "environment", "counted"),
    [
        (None, None, None, "1 process x"),
        (None, None, "3", "3 processes x"),
        (None, None, "auto", "1 process x"),
        (None, 4, "3", "4 processes x"),
        (5, 4, "3", "5 processes x"),
    ],
)
async def test_the_processes_are_counted(  # noqa: PLR0917 - its cases
    database: Database,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    processes: int | None,
    workers: int | None,
    environment: str | None,
    counted: str,
) -> None:
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    if environment is not None:
        monkeypatch.setenv("WEB_CONCURRENCY", environment)
    connection = DBConnect.from_url(database.url, name="shop", pool_size=10_000)
    await _start(connection, processes=processes, workers=workers)
    assert counted in _warnings(caplog)[0]


@pytest.mark.parametrize(
    "command",
    [
        ["/venv/bin/gunicorn", "shop:app", "--workers=4"],
        ["/venv/bin/uvicorn", "shop:app", "--workers", "4"],
        ["/venv/lib/hypercorn/__main__.py", "-w", "4", "shop:app"],
    ],
)
async def test_the_workers_of_the_server_s_command_are_counted(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", command)
    await _start(DBConnect.from_url(database.url, name="shop", pool_size=10_000))
    assert "4 processes x ('shop' 10000" in _warnings(caplog)[0]


@pytest.mark.parametrize("options", [{"max_overflow": -1}, {"poolclass": NullPool}], ids=["no bound", "NullPool"])
async def test_a_pool_without_a_bound_is_not_compared(
    database: Database, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    await _start(DBConnect.from_url(database.url, name="shop", **options), processes=1000)
    assert _warnings(caplog) == []


async def test_an_engine_of_the_application_is_checked_too(database: Database) -> None:
    made: list[AsyncEngine] = []

    def make_engine(_host: str) -> AsyncEngine:
        made.append(create_async_engine(database.url))
        return made[-1]

    await _start(DBConnect(make_engine, async_sessionmaker, "primary", name="shop"))
    assert len(made) == 1
