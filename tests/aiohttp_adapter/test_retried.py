"""Fifty clients at once change the same few rows under SERIALIZABLE: no update is lost, and none is made twice."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, Retry, db_session, retried, run_in_new_ctx, setup_db
from tests.conformance.statements import write
from tests.support.connections import connect_to, in_use
from tests.support.database import Database
from tests.support.recorder import Recorder

CLIENTS = 50
TRANSFERS = 3
ACCOUNTS = ("1", "2", "3", "4", "5")
OPENING_BALANCE = 1000
RETRY = Retry(attempts=100, base_delay=0.005, max_delay=0.1)


@pytest.fixture
async def serializable(database: Database) -> AsyncGenerator[DBConnect]:
    connection = connect_to(database.url, pool_size=10, isolation_level="SERIALIZABLE")
    yield connection
    await connection.close()


async def _transfer(connection: DBConnect, source: str, target: str) -> None:
    """Move one unit, reading before writing, as lost updates come about."""
    session = await db_session(connection)
    for account, change in ((source, -1), (target, 1)):
        where = {"like": f"{account}:%"}
        row = await session.scalar(text("SELECT body FROM notes WHERE body LIKE :like"), where)
        balance = int(str(row).partition(":")[2]) + change
        await session.execute(
            text("UPDATE notes SET body = :body WHERE body LIKE :like"), {"body": f"{account}:{balance}", **where}
        )


@asynccontextmanager
async def _served(app: web.Application) -> AsyncGenerator[str]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("way", ["retried", "run_in_new_ctx"])
async def test_no_update_is_lost(serializable: DBConnect, database: Database, way: str) -> None:
    for account in ACCOUNTS:
        await run_in_new_ctx(write, serializable, f"{account}:{OPENING_BALANCE}")
    recorder = Recorder()
    retried_transfer = retried(RETRY)(_transfer)

    async def handle(request: web.Request) -> web.Response:
        source, target = request.query["source"], request.query["target"]
        if way == "retried":
            await retried_transfer(serializable, source, target)
        else:
            await run_in_new_ctx(_transfer, serializable, source, target, retry=RETRY)
        return web.Response(status=201)

    app = web.Application()
    app.router.add_post("/transfers", handle)
    setup_db(app, [serializable], observers=[recorder])
    expected = dict.fromkeys(ACCOUNTS, OPENING_BALANCE)

    async def client(number: int, session: aiohttp.ClientSession, root: str) -> None:
        for turn in range(TRANSFERS):
            source, target = ACCOUNTS[(number + turn) % 5], ACCOUNTS[(number * 2 + turn + 1) % 5]
            query = {"source": source, "target": target}
            async with session.post(f"{root}/transfers", params=query) as response:
                assert response.status == 201
            expected[source] -= 1
            expected[target] += 1

    async with _served(app) as root, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(number, session, root) for number in range(CLIENTS)))
        assert in_use(serializable) == 0
    assert await database.notes() == [f"{account}:{balance}" for account, balance in expected.items()]
    assert recorder.retries, "there were no conflicts: the test shows nothing"
    assert {attempt.route for attempt in recorder.retries} == {"POST /transfers"}
