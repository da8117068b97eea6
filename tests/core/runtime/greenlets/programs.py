"""Programs that are run in an interpreter of their own."""

import os
import subprocess
import sys

from context_async_sqlalchemy._runtime.greenlets import VARIABLE

SESSIONS = """
import asyncio, logging, os, sys, threading
from greenlet import getcurrent
from sqlalchemy import text
from context_async_sqlalchemy import DBConnect, db_context, db_session

async def request(seen):
    connection = DBConnect.from_url("sqlite+aiosqlite://", name="main")
    for number in range(2):
        async with db_context():
            session = await db_session(connection)
            assert await session.scalar(text(f"SELECT {number}")) == number
            await session.run_sync(lambda _: seen.add(getcurrent()))
            assert [row async for row in await session.stream(text("SELECT 1"))] == [(1,)]
    await connection.close()

def greenlets(run=asyncio.run):
    seen = set()
    run(request(seen))
    return len(seen)
"""
"""The beginning of a program: ``greenlets()`` returns how many greenlets two contexts used."""


def execute(program: str, **variables: str) -> tuple[int, str]:
    """Run a program that keeps greenlets; return its exit status, and what it says of errors and warnings."""
    result = subprocess.run(  # noqa: S603 - this interpreter, and a program of these tests
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, VARIABLE: "1", **variables},
    )
    # On a busy machine asyncio's debug mode tells of callbacks that took more than 0.1 s.
    told = [line for line in result.stderr.splitlines(keepends=True) if not line.startswith("Executing <")]
    return result.returncode, "".join(told)
