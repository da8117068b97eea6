"""What the three applications do: notes are written and listed."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect, db_session


async def add_note(primary: DBConnect, body: str) -> None:
    """Write a note."""
    session = await db_session(primary)
    await session.execute(text("INSERT INTO notes (body) VALUES (:body)"), {"body": body})


async def list_notes(session: AsyncSession) -> list[str]:
    """Read all notes."""
    return list(await session.scalars(text("SELECT body FROM notes ORDER BY 1")))
