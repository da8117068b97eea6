"""Roles of the server, with a password each."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool


class Role:
    """A role that may log in.

    Args:
        name: its name.
        password: its password.
        admin: a connection of a superuser.
        database: the URL of the superuser.

    """

    def __init__(self, name: str, password: str, admin: AsyncConnection, database: URL) -> None:
        self.name = name
        self._admin = admin
        self.url = database.set(username=name, password=password)

    async def change_password(self, password: str) -> None:
        """Let the role in by another password only."""
        await self._admin.execute(text(f"ALTER ROLE {self.name} PASSWORD '{password}'"))


@asynccontextmanager
async def role(url: str, password: str = "old", *, name: str = "shopkeeper", limit: int = -1) -> AsyncGenerator[Role]:  # noqa: S107 - no secret
    """Make a role for the length of a block.

    Args:
        url: the SQLAlchemy URL of a superuser.
        password: the password of the role.
        name: the name of the role.
        limit: the connections that the server allows it; -1 is no limit.

    """
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as admin:
        await admin.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' CONNECTION LIMIT {limit}"))
        try:
            await admin.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}"))
            await admin.execute(text(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}"))
            yield Role(name, password, admin, make_url(url))
        finally:
            await admin.execute(text(f"DROP OWNED BY {name}"))
            await admin.execute(text(f"DROP ROLE {name}"))
