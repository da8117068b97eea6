"""Fifty clients at once change the same few rows under SERIALIZABLE: no update is lost, and none is made twice."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, Retry, db_context, db_session, retried, run_in_new_ctx, setup_db
from tests.conformance.statements import run
from tests.support.connections import connect_to, in_use
from tests.support.database import Database
from tests.support.recorder import Recorder

CLIENTS = 50
TRANSFERS = 3
ACCOUNTS = 10
OPENING_BALANCE = 1000
RETRY = Retry(attempts=100, base_delay=0.005, max_delay=0.1)


@pytest.fixture
async def serializable(database: Database) -> AsyncGenerator[DBConnect]:
    """Give the test a connection whose transactions are SERIALIZABLE, and a table with accounts."""
    connection = connect_to(database.url, pool_size=4, isolation_level="SERIALIZABLE")
    async with db_context():
        await run(connection, "DROP TABLE IF EXISTS accounts")
        await run(connection, "CREATE TABLE accounts (id int PRIMARY KEY, balance int) WITH (fillfactor = 10)")
        await run(
            connection, f"INSERT INTO accounts SELECT id, {OPENING_BALANCE} FROM generate_series(1, {ACCOUNTS}) id"
        )
    yield connection
    async with db_context():
        await run(connection, "DROP TABLE accounts")
    await connection.close()


async def _transfer(connection: DBConnect, source: int, target: int) -> None:
    """Move one unit, reading before writing, as lost updates come about."""
    session = await db_session(connection)
    # A sequential scan would read, so conflict with, all accounts.
    await session.execute(text("SET LOCAL enable_seqscan = off"))
    query = text("SELECT balance FROM accounts WHERE id = :id")
    balances = {account: await session.scalar(query, {"id": account}) for account in (source, target)}
    balances[source] -= 1
    balances[target] += 1
    # In one order, as each deadlock would take the server a second to notice.
    for account in sorted(balances):
        new = {"id": account, "balance": balances[account]}
        await session.execute(text("UPDATE accounts SET balance = :balance WHERE id = :id"), new)


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
async def test_no_update_is_lost(serializable: DBConnect, way: str) -> None:
    recorder = Recorder()
    retried_transfer = retried(RETRY)(_transfer)

    async def handle(request: web.Request) -> web.Response:
        source, target = int(request.query["source"]), int(request.query["target"])
        if way == "retried":
            await retried_transfer(serializable, source, target)
        else:
            await run_in_new_ctx(_transfer, serializable, source, target, retry=RETRY)
        return web.Response(status=201)

    app = web.Application()
    app.router.add_post("/transfers", handle)
    setup_db(app, [serializable], observers=[recorder])
    expected = dict.fromkeys(range(1, ACCOUNTS + 1), OPENING_BALANCE)

    async def client(number: int, session: aiohttp.ClientSession, root: str) -> None:
        for turn in range(TRANSFERS):
            source = (number + turn) % ACCOUNTS + 1
            target = (source + number % 3) % ACCOUNTS + 1
            query = {"source": source, "target": target}
            async with session.post(f"{root}/transfers", params=query) as response:
                assert response.status == 201
            expected[source] -= 1
            expected[target] += 1

    async with _served(app) as root, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(number, session, root) for number in range(CLIENTS)))
        assert in_use(serializable) == 0
        async with db_context():
            rows = await (await db_session(serializable)).execute(text("SELECT id, balance FROM accounts"))
            assert {row.id: row.balance for row in rows} == expected
    assert recorder.retries, "there were no conflicts: the test shows nothing"
    assert {attempt.route for attempt in recorder.retries} == {"POST /transfers"}
