"""The work of the requests: each kind ends in another way."""

import asyncio

from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, commit_db_session, db_context, db_session
from tests.conformance.statements import run, write
from tests.support.database import FAILING_COMMIT

KINDS = ("written", "failing", "timed_out", "given_up", "early", "nested", "untouched")
"""In the order of a kind's number; ``failing`` is that of the COMMITs which the database refuses."""

_MANY_ROWS = text("SELECT generate_series(1, 500)")


async def do(connection: DBConnect, kind: str) -> None:
    """Do the work of a request.

    Args:
        connection: the database.
        kind: one of ``KINDS``.

    """
    if kind == "untouched":
        return
    await write(connection, kind)
    if kind == "failing":
        await run(connection, FAILING_COMMIT)
    elif kind == "timed_out":
        async with asyncio.timeout(0.005):
            await run(connection, "SELECT pg_sleep(10)")
    elif kind == "given_up":
        await _give_a_stream_up(connection)
    elif kind == "early":
        await commit_db_session(connection)
        await write(connection, "after the commit")
    elif kind == "nested":
        async with db_context():
            await write(connection, "inner")


async def _give_a_stream_up(connection: DBConnect) -> None:
    session = await db_session(connection)
    async for _row in await session.stream(_MANY_ROWS):
        break
