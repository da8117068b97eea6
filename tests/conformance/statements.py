"""What handlers of the cases do with the database."""

from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, db_session


async def write(connection: DBConnect, body: str) -> None:
    """Insert a row through the session of the current context."""
    session = await db_session(connection)
    await session.execute(text("INSERT INTO notes (body) VALUES (:body)"), {"body": body})


async def run(connection: DBConnect, statement: str) -> None:
    """Execute a statement through the session of the current context."""
    session = await db_session(connection)
    await session.execute(text(statement))
