"""Dialogues with a server: SQL in two sessions, and every answer, to compare the model with PostgreSQL."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg as untyped_asyncpg  # type: ignore[import-untyped] # it has no types

asyncpg: Any = untyped_asyncpg

Connect = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Step:
    """A statement in one of the sessions.

    Attributes:
        is_simple: whether it is sent by the simple protocol, as asyncpg sends BEGIN, COMMIT and ROLLBACK.

    """

    session: int
    sql: str
    arguments: tuple[str, ...] = ()
    is_simple: bool = False


class Session(Protocol):
    """What a dialogue needs of an asyncpg connection."""

    async def execute(self, query: str) -> str: ...
    async def prepare(self, query: str) -> Any: ...
    def is_in_transaction(self) -> bool: ...


async def converse(connect: Connect, steps: Sequence[Step]) -> list[tuple[object, ...]]:
    """Run a dialogue.

    Args:
        connect: opens a session.
        steps: the statements.

    Returns:
        For each step the rows and the tag, or the SQLSTATE; and whether the session is in a transaction.

    """
    sessions = [await connect() for _ in range(1 + max(step.session for step in steps))]
    try:
        return [await _answer(sessions[step.session], step) for step in steps]
    finally:
        for session in sessions:
            await session.close()


async def _answer(session: Session, step: Step) -> tuple[object, ...]:
    try:
        if step.is_simple:
            answer: tuple[object, ...] = (await session.execute(step.sql),)
        else:
            statement = await session.prepare(step.sql)
            rows = [tuple(row) for row in await statement.fetch(*step.arguments)]
            answer = (rows, statement.get_statusmsg())
    except asyncpg.PostgresError as error:
        answer = ("error", error.sqlstate)
    return (step.sql, *answer, session.is_in_transaction())


_TRANSACTIONS = ("BEGIN", "BEGIN", "COMMIT", "ROLLBACK")
_SAVEPOINTS = ("SAVEPOINT one", "SAVEPOINT two", "ROLLBACK TO SAVEPOINT one", "RELEASE SAVEPOINT one")
_READS = ("SELECT body FROM notes ORDER BY body", "SELECT count(*) FROM unique_notes", "SELECT 1", ";")
_ERRORS = ("SELECT 1/0", "SELECT body FROM missing ORDER BY body", "NONSENSE")


def random_dialogue(seed: int, length: int = 16) -> list[Step]:
    """Make a dialogue of two sessions from a seed."""
    source = random.Random(f"dialogue {seed}")  # noqa: S311 - not for secrets
    return [_random_step(source, number) for number in range(length)]


def _random_step(source: random.Random, number: int) -> Step:
    session = source.randrange(2)
    kind = source.choice(("transaction", "transaction", "savepoint", "read", "insert", "insert", "duplicate", "error"))
    is_simple = source.random() < 0.3
    # Bodies belong to one session: PostgreSQL would let the other one wait.
    own = f"{'ab'[session]}{number:02}"
    if kind == "insert":
        table = source.choice(("notes", "unique_notes"))
        return Step(session, f"INSERT INTO {table} (body) VALUES ($1)", (own,))
    if kind == "duplicate":
        return Step(session, f"INSERT INTO unique_notes (body) VALUES ('{own}'), ('{own}')", is_simple=is_simple)
    if kind == "read":
        return Step(session, source.choice(_READS))
    sql = source.choice({"transaction": _TRANSACTIONS, "savepoint": _SAVEPOINTS, "error": _ERRORS}[kind])
    return Step(session, sql, is_simple=is_simple or kind == "transaction")
