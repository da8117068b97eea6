"""The model of PostgreSQL answers as PostgreSQL does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy.engine import make_url

from tests.proof.simulation.choices import Choices
from tests.proof.simulation.dialogues import Connect, Step, asyncpg, converse, random_dialogue
from tests.proof.simulation.loop import SimulatedLoop
from tests.proof.simulation.postgres import Faults, ModelServer

T = TypeVar("T")

_RANDOM = 400

DIALOGUES = {
    "committed rows are seen by others, others are not": [
        Step(0, "BEGIN", is_simple=True),
        Step(0, "INSERT INTO notes (body) VALUES ($1)", ("a",)),
        Step(0, "SELECT body FROM notes ORDER BY body"),
        Step(1, "SELECT body FROM notes ORDER BY body"),
        Step(0, "COMMIT", is_simple=True),
        Step(1, "SELECT body FROM notes ORDER BY body"),
    ],
    "a COMMIT after a failed statement is answered by ROLLBACK": [
        Step(0, "BEGIN", is_simple=True),
        Step(0, "INSERT INTO notes (body) VALUES ($1)", ("a",)),
        Step(0, "SELECT 1/0"),
        Step(0, "SELECT 1"),
        Step(0, "BEGIN", is_simple=True),
        Step(0, "SAVEPOINT one"),
        Step(0, "COMMIT", is_simple=True),
        Step(0, "SELECT body FROM notes ORDER BY body"),
    ],
    "a deferred constraint refuses the COMMIT": [
        Step(0, "BEGIN", is_simple=True),
        Step(0, "INSERT INTO unique_notes (body) VALUES ('a'), ('a')"),
        Step(0, "SELECT count(*) FROM unique_notes"),
        Step(0, "COMMIT", is_simple=True),
        Step(0, "SELECT count(*) FROM unique_notes"),
        Step(0, "INSERT INTO unique_notes (body) VALUES ('a'), ('a')"),
        Step(0, "INSERT INTO unique_notes (body) VALUES ('a'), ('a')", is_simple=True),
    ],
    "a savepoint heals a failed transaction": [
        Step(0, "BEGIN", is_simple=True),
        Step(0, "INSERT INTO notes (body) VALUES ($1)", ("a",)),
        Step(0, "SAVEPOINT one"),
        Step(0, "INSERT INTO notes (body) VALUES ($1)", ("b",)),
        Step(0, "NONSENSE"),
        Step(0, "SELECT 1"),
        Step(0, "ROLLBACK TO SAVEPOINT one"),
        Step(0, "RELEASE SAVEPOINT one"),
        Step(0, "RELEASE SAVEPOINT one"),
        Step(0, "ROLLBACK TO SAVEPOINT one"),
        Step(0, "COMMIT", is_simple=True),
        Step(1, "SELECT body FROM notes ORDER BY body"),
    ],
    "statements outside of a transaction": [
        Step(0, "COMMIT", is_simple=True),
        Step(0, "ROLLBACK", is_simple=True),
        Step(0, "SAVEPOINT one"),
        Step(0, "ROLLBACK TO SAVEPOINT one"),
        Step(0, "SELECT body FROM missing ORDER BY body"),
        Step(0, ";"),
        Step(0, "SHOW standard_conforming_strings"),
        Step(0, "SHOW transaction isolation level"),
        Step(0, "SELECT pg_sleep(0.001)"),
        Step(0, "INSERT INTO notes (body) VALUES ($1::VARCHAR)", ("a",)),
        Step(0, "SELECT count(*) FROM notes"),
    ],
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_a_dialogue_has_the_same_answers(name: str, database_url: str) -> None:
    _compare(database_url, [DIALOGUES[name]])


@pytest.mark.timeout(120)
def test_random_dialogues_have_the_same_answers(database_url: str) -> None:
    _compare(database_url, [random_dialogue(seed) for seed in range(_RANDOM)])


def test_a_statement_that_times_out_is_cancelled_and_the_session_goes_on(database_url: str) -> None:
    async def story(connect: Connect) -> list[object]:
        session = await connect()
        await session.execute("BEGIN")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.fetch("SELECT pg_sleep(60)")
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await session.fetch("SELECT 1")
        answers = [await session.execute("COMMIT"), await session.fetchval("SELECT 1")]
        await session.close()
        return answers

    assert _on_model(story) == _on_postgresql(database_url, story) == ["ROLLBACK", 1]


def test_a_process_that_is_ended_tells_its_client(database_url: str) -> None:
    async def look_at(victim: Any, other: Any) -> list[object]:
        await asyncio.sleep(0.05)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)) as raised:
            await victim.fetch("SELECT 1")
        found: list[object] = [type(raised.value), victim.is_closed(), await other.fetchval("SELECT 1")]
        await other.close()
        return found

    async def on_postgresql(connect: Connect) -> list[object]:
        victim, other = await connect(), await connect()
        await other.execute(f"SELECT pg_terminate_backend({victim.get_server_pid()})")
        return await look_at(victim, other)

    async def on_model(connect: Connect) -> list[object]:
        victim, other = await connect(), await connect()
        servers[0].terminate(victim.get_server_pid())
        return await look_at(victim, other)

    servers: list[ModelServer] = []
    assert _on_model(on_model, servers) == _on_postgresql(database_url, on_postgresql)


def _compare(database_url: str, dialogues: list[list[Step]]) -> None:
    for steps in dialogues:

        async def run(connect: Connect, steps: list[Step] = steps) -> list[tuple[object, ...]]:
            return await converse(connect, steps)

        assert _on_model(run) == _on_postgresql(database_url, run)


def _on_model(run: Callable[[Connect], Awaitable[T]], servers: list[ModelServer] | None = None) -> T:
    loop = SimulatedLoop(Choices())
    server = ModelServer(loop, Faults(Choices()))
    if servers is not None:
        servers.append(server)

    async def main() -> T:
        return await run(lambda: asyncpg.connect(host=server.host, user="user", database="app", ssl=False))

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def _on_postgresql(database_url: str, run: Callable[[Connect], Awaitable[T]]) -> T:
    url = make_url(database_url).set(drivername="postgresql")

    async def connect() -> Any:
        return await asyncpg.connect(url.render_as_string(hide_password=False))

    async def main() -> T:
        session = await connect()
        await session.execute("TRUNCATE notes, unique_notes")
        await session.close()
        return await run(connect)

    return asyncio.run(main())
