"""Engines that the probe is put on, and a statement on them."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from context_async_sqlalchemy import DBConnect

SELECT = text("SELECT 1")


def around(engine: AsyncEngine, name: str = "main") -> DBConnect:
    """Make a connection of an engine that the application has made."""
    return DBConnect(lambda _: engine, async_sessionmaker, "host", name=name)


async def engine_of(connection: DBConnect) -> AsyncEngine:
    """Make the engine of a connection; return it."""
    await connection.session_maker()
    assert connection.engine is not None
    return connection.engine


async def select_on(engine: AsyncEngine) -> None:
    """Take a connection, execute a statement, give it back."""
    async with engine.connect() as connection:
        await connection.execute(SELECT)
