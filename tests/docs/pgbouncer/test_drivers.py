"""Which configuration of a driver is right behind PgBouncer: fifty clients on two connections of the server."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from context_async_sqlalchemy import DBConnect
from tests.docs.pgbouncer import configured
from tests.docs.pgbouncer.bouncer import DOCUMENT, SERVER_CONNECTIONS, Bouncer
from tests.support.database import Database
from tests.support.waiting import until
from tests.tools.local_postgres.observing import is_running

CLIENTS = 50
TRANSACTIONS = 8
_PREPARED = re.compile(r'prepared statement "\w+" (does not exist|already exists)')

_drivers = pytest.mark.parametrize(
    ("driver", "options"),
    [("asyncpg", configured.ASYNCPG), ("psycopg", configured.PSYCOPG)],
    ids=["asyncpg", "psycopg"],
)


def _engine(bouncer: Bouncer, driver: str, options: dict[str, Any], **pool: Any) -> AsyncEngine:
    url = make_url(bouncer.url).set(drivername=f"postgresql+{driver}")
    return create_async_engine(url, connect_args=options, **pool)


async def _load(engine: AsyncEngine) -> Counter[str]:
    """Execute transactions of three statements each, and count how they went."""
    outcomes: Counter[str] = Counter()

    async def client(number: int) -> None:
        for _ in range(TRANSACTIONS):
            try:
                async with engine.begin() as connection:
                    for step in range(3):
                        added = (number + step) % 7
                        answer = await connection.scalar(text(f"SELECT CAST(:n AS integer) + {added}"), {"n": number})
                        outcomes["right" if answer == number + added else "wrong"] += 1
            except DBAPIError as error:
                outcomes["prepared" if _PREPARED.search(str(error)) else str(error)] += 1

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    await engine.dispose()
    return outcomes


async def _repeat_elsewhere(engine: AsyncEngine) -> bool:
    """Execute a statement, and the same again when only the server's other connection is left; tell whether it was."""
    process_id = text("SELECT pg_backend_pid()")
    try:
        async with engine.connect() as client, engine.connect() as first, engine.connect() as second:
            before = await client.scalar(process_id)
            await client.commit()
            held_by = {await holder.scalar(process_id): holder for holder in (first, second)}
            (elsewhere,) = held_by.keys() - {before}
            await held_by[elsewhere].commit()
            return bool(await client.scalar(process_id) == elsewhere)
    finally:
        await engine.dispose()


@pytest.mark.usefixtures("database")
async def test_without_the_options_asyncpg_loses_its_prepared_statements(bouncer: Bouncer) -> None:
    # No load: with transactions that last equally long, each client keeps meeting the connection that it had.
    with pytest.raises(DBAPIError, match=_PREPARED):
        await _repeat_elsewhere(_engine(bouncer, "asyncpg", {}))


@pytest.mark.usefixtures("database")
@_drivers
async def test_with_them_a_statement_may_meet_another_connection(
    bouncer: Bouncer, driver: str, options: dict[str, Any]
) -> None:
    assert await _repeat_elsewhere(_engine(bouncer, driver, options))


@pytest.mark.usefixtures("database")
async def test_without_the_option_psycopg_executes_statements_of_other_clients(bouncer: Bouncer) -> None:
    outcomes = await _load(_engine(bouncer, "psycopg", {"prepare_threshold": 0}, pool_size=CLIENTS))
    assert outcomes["prepared"] + outcomes["wrong"] > 0


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("pool", [{"pool_size": CLIENTS}, {"poolclass": NullPool}], ids=["pool", "NullPool"])
@_drivers
async def test_with_them_every_answer_is_right(
    bouncer: Bouncer, driver: str, options: dict[str, Any], pool: dict[str, Any]
) -> None:
    outcomes = await _load(_engine(bouncer, driver, options, **pool))
    assert outcomes == {"right": 3 * CLIENTS * TRANSACTIONS}


async def test_asyncpg_streams_and_learns_types(bounced: DBConnect) -> None:
    """The unnamed statement survives the queries by which asyncpg learns of a type, and a cursor."""
    async with (await bounced.session_maker())() as session:
        await session.execute(text("CREATE TYPE pg_temp.mood AS ENUM ('glad')"))
        assert await session.scalar(text("SELECT ARRAY['glad'::pg_temp.mood]")) == ["glad"]
        rows = await session.stream(text("SELECT n FROM generate_series(1, 2000) AS n"))
        assert len([row async for row in rows]) == 2000
        await session.rollback()


@pytest.mark.usefixtures("database")
async def test_asyncpg_leaves_no_statement_on_the_server(bouncer: Bouncer) -> None:
    before = await _prepared_on_the_server(bouncer)
    assert (await _load(_engine(bouncer, "asyncpg", configured.ASYNCPG, pool_size=CLIENTS)))["right"] > 0
    assert await _prepared_on_the_server(bouncer) == before


async def _prepared_on_the_server(bouncer: Bouncer) -> int:
    """Count the statements that clients have left there, on all of its connections."""
    engine, count = _engine(bouncer, "asyncpg", configured.ASYNCPG), 0
    async with engine.connect() as one, engine.connect() as other:
        for each in (one, other):
            count += await each.scalar(text("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")) or 0
    await engine.dispose()
    return count


async def test_clients_share_few_connections_of_the_server(
    bouncer: Bouncer, bounced: DBConnect, database: Database
) -> None:
    async def client() -> None:
        async with (await bounced.session_maker())() as session:
            await session.execute(text("SELECT 1"))
            await session.commit()

    await asyncio.gather(*(client() for _ in range(10)))
    assert await database.backends() <= SERVER_CONNECTIONS
    assert (await bouncer.pool())["cl_active"] > SERVER_CONNECTIONS


def test_what_is_tested_is_what_is_documented() -> None:
    documented = dict(re.findall(r'"(\w+)": (\w+)[,}]', DOCUMENT.read_text()))
    tested = configured.ASYNCPG | configured.PSYCOPG
    assert documented == {name: "str" if value is str else str(value) for name, value in tested.items()}


_OWNER = """
import os, signal, sys, time
from tests.docs.pgbouncer.bouncer import running
# As in a job that a shell script runs in the background.
signal.signal(signal.SIGQUIT, signal.SIG_IGN)
with running(sys.argv[1], os.environ["DATABASE_URL"]) as bouncer:
    print(bouncer.process_id, flush=True)
    time.sleep(60)
"""


async def test_it_is_gone_when_its_owner_is_killed(program: str, database_url: str) -> None:
    command, environment = [sys.executable, "-c", _OWNER, program], {**os.environ, "DATABASE_URL": database_url}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as owner:  # noqa: S603, ASYNC220 - ours
        assert owner.stdout is not None
        process_id = int(await asyncio.to_thread(owner.stdout.readline))
        assert is_running(process_id)
        owner.send_signal(signal.SIGKILL)
    await until(lambda: not is_running(process_id), "PgBouncer has ended")
