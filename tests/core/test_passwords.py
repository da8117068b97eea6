"""``DBConnect.from_url(password=...)``: the password of each new connection, while it changes under load."""

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.pool import NullPool

from context_async_sqlalchemy import DBConnect, commit_db_session, db_context, db_session
from context_async_sqlalchemy.test_utils import rolled_back
from tests.support.database import Database
from tests.support.roles import Role, role
from tests.support.waiting import until

on_each_driver = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
CLIENTS = 6


async def _whoami(connection: DBConnect) -> str:
    async with db_context():
        return str(await (await db_session(connection)).scalar(text("SELECT session_user")))


class _Vault:
    """Knows the password, and gives it out. During a change it makes askers wait."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._is_settled = asyncio.Event()
        self._is_settled.set()
        self._nobody_connects = asyncio.Event()
        self._nobody_connects.set()
        self._connecting = 0
        self.given: list[str] = []

    async def password(self) -> str:
        await self._is_settled.wait()
        self._connecting += 1
        self._nobody_connects.clear()
        self.given.append(self._password)
        return self._password

    def has_given(self, passwords: int) -> bool:
        return len(self.given) >= passwords

    def connected(self, *_: object) -> None:
        self._connecting -= 1
        if not self._connecting:
            self._nobody_connects.set()

    async def change(self, of: Role, password: str) -> None:
        self._is_settled.clear()
        await self._nobody_connects.wait()
        await of.change_password(password)
        self._password = password
        self._is_settled.set()


@on_each_driver
@pytest.mark.parametrize("pool", ["QueuePool", "NullPool"])
async def test_new_connections_go_on_while_the_password_changes(database: Database, driver: str, pool: str) -> None:
    vault = _Vault("first")
    options: dict[str, Any] = {"poolclass": NullPool} if pool == "NullPool" else {"pool_size": 2, "max_overflow": 4}
    async with role(database.url, "first") as shopkeeper:
        url = shopkeeper.url.set(drivername=f"postgresql+{driver}", password=None)
        connection = DBConnect.from_url(url, name="shop", password=vault.password, **options)
        await connection.session_maker()
        assert connection.engine is not None
        event.listen(connection.engine.sync_engine, "connect", vault.connected)
        stop = asyncio.Event()

        async def load() -> int:
            served = 0
            while not stop.is_set():
                assert await _whoami(connection) == "shopkeeper"
                served += 1
            return served

        clients = [asyncio.create_task(load()) for _ in range(CLIENTS)]
        for password in ("second", "third"):
            await until(partial(vault.has_given, len(vault.given) + CLIENTS), "connections are made")
            await vault.change(shopkeeper, password)
        await until(partial(vault.has_given, len(vault.given) + CLIENTS), "connections are made by the last password")
        stop.set()
        assert min(await asyncio.gather(*clients)) > 0
        await connection.close()
    # No connection asked for an old password after a change.
    assert vault.given == sorted(vault.given, key=["first", "second", "third"].index)


async def _awaited() -> str:
    await asyncio.sleep(0)
    return "token"


@on_each_driver
@pytest.mark.parametrize("password", ["token", lambda: "token", _awaited], ids=["str", "function", "async"])
async def test_a_password_may_be_a_str_or_a_function(
    database: Database, driver: str, password: str | Callable[[], str | Awaitable[str]]
) -> None:
    async with role(database.url, "token") as shopkeeper:
        url = shopkeeper.url.set(drivername=f"postgresql+{driver}", password="of the URL")  # noqa: S106 - no secret
        connection = DBConnect.from_url(url, name="shop", password=password)
        assert await _whoami(connection) == "shopkeeper"
        await connection.close()


async def test_it_is_asked_for_each_connection_and_not_for_each_checkout(database: Database) -> None:
    asked: list[int] = []

    def password() -> str:
        asked.append(1)
        return "token"

    async with role(database.url, "token") as shopkeeper:
        connection = DBConnect.from_url(shopkeeper.url.set(password=None), name="shop", password=password)
        assert asked == []
        for _ in range(3):
            await _whoami(connection)
        assert len(asked) == 1
        await connection.close()
        await _whoami(connection)
        assert len(asked) == 2
        await connection.close()


async def test_it_is_asked_on_a_new_host_too(database: Database) -> None:
    asked: list[int] = []

    async def password() -> str:
        asked.append(1)
        return "token"

    async with role(database.url, "token") as shopkeeper:
        url = shopkeeper.url
        connection = DBConnect.from_url(url.set(host="localhost", password=None), name="shop", password=password)
        await _whoami(connection)
        await connection.change_host(f"{url.host}:{url.port}")
        assert await _whoami(connection) == "shopkeeper"
        assert len(asked) == 2
        await connection.close()


async def test_a_test_that_is_rolled_back_asks_too(database: Database) -> None:
    async with role(database.url, "token") as shopkeeper:
        url = shopkeeper.url.set(password=None)
        connection = DBConnect.from_url(url, name="shop", password=_awaited)
        async with rolled_back(connection), db_context():
            session = await db_session(connection)
            await session.execute(text("INSERT INTO notes (body) VALUES ('tried')"))
            await commit_db_session(connection)
        await connection.close()
    assert await database.notes() == []


@on_each_driver
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "function"])
async def test_a_function_that_fails_is_named(database: Database, driver: str, is_async: bool) -> None:
    def fail() -> str:
        raise LookupError("the vault is sealed")

    async def fail_later() -> str:
        return fail()

    url = make_url(database.url).set(drivername=f"postgresql+{driver}")
    connection = DBConnect.from_url(url, name="shop", password=fail_later if is_async else fail)
    with pytest.raises(LookupError, match="the vault is sealed") as caught:
        await _whoami(connection)
    said = "".join(traceback.format_exception(caught.value))
    assert "The password= callable of connection 'shop' (host '127.0.0.1:" in said
    assert "raised this. It is called for each new connection." in said
    await connection.close()


@on_each_driver
async def test_what_is_no_password_is_refused_and_not_shown(database: Database, driver: str) -> None:
    url = make_url(database.url).set(drivername=f"postgresql+{driver}")
    connection = DBConnect.from_url(url, name="shop", password=lambda: b"secret")  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="must return a str, and returned bytes") as caught:
        await _whoami(connection)
    assert "secret" not in "".join(traceback.format_exception(caught.value)).replace(inspect.getsource(_whoami), "")
    await connection.close()


async def _no_connection() -> None:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("url", "options", "error", "message"),
    [
        ("postgresql+asyncpg://h/d", {"password": 5}, TypeError, r"takes a str, or a function that returns one.*int"),
        (
            "postgresql+asyncpg://h/d",
            {"password": str, "async_creator": _no_connection},
            ValueError,
            "password= has no effect beside a creator",
        ),
        ("sqlite+aiosqlite://", {"password": str}, ValueError, "'sqlite.aiosqlite' takes no argument 'password'"),
    ],
)
def test_it_is_refused_where_it_has_no_effect(
    url: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        DBConnect.from_url(url, **options)
