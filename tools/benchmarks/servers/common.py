"""What all servers share: the arguments, the table, the statements and the pool.

It imports neither a framework nor this library, because the servers of other projects use it too.
"""

import argparse
import asyncio
import os
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, select
from sqlalchemy.ext.asyncio import create_async_engine

metadata = MetaData()
items = Table("benchmark_items", metadata, Column("id", Integer, primary_key=True), Column("name", String(50)))

FIRST = select(items.c.id, items.c.name).where(items.c.id == 1)
SECOND = select(items.c.id, items.c.name).where(items.c.id == 2)
SQL = "SELECT benchmark_items.id, benchmark_items.name FROM benchmark_items WHERE benchmark_items.id = $1::INTEGER"
"""What SQLAlchemy makes of either, for those who do without it."""

POOL: dict[str, Any] = {"pool_size": 10, "max_overflow": 0}


def chosen(description: str | None, applications: Iterable[str]) -> tuple[str, str]:
    """Return which application this process serves, and the URL of a database that has the table.

    The process is pinned to the core that its arguments name.

    Args:
        description: of the program.
        applications: the names to choose from.

    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--core", type=int, help="the processor that this process is pinned to")
    parser.add_argument("--application", choices=sorted(applications), required=True)
    parser.add_argument("--filled", action="store_true", help="the database has the table already")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    url = os.environ["DATABASE_URL"]
    if not arguments.filled:
        asyncio.run(fill(url))
    return arguments.application, url


async def fill(url: str) -> None:
    """Make the table, with its two rows."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
        await connection.execute(items.insert(), [{"id": number, "name": f"item {number}"} for number in (1, 2)])
    await engine.dispose()


def tell_ready(ports: dict[str, int]) -> None:
    """Tell the measuring side at which port each application is.

    Args:
        ports: by the name of the application; ``control`` answers with this process's CPU time.

    """
    lines = [f"{name} {port}" for name, port in ports.items()]
    print(*lines, "ready", sep="\n", flush=True)
