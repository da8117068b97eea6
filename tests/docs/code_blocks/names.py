"""The names that the blocks of all pages find: a small shop, its database, and clients that look at effects."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import context_async_sqlalchemy
from context_async_sqlalchemy import (
    DBConnect,
    auto_commit_by_status_code,
    db_session,
    init_db_session_ctx,
    reset_db_session_ctx,
    setup_db,
)

SCHEMA = "manual"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Base(DeclarativeBase):
    """The tables of the pages, in a schema of their own."""


class Order(Base):
    """An order."""

    __tablename__ = "orders"
    __table_args__ = {"schema": SCHEMA}  # noqa: RUF012 - SQLAlchemy's form
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    receipt: Mapped[str | None]
    is_old: Mapped[bool] = mapped_column(default=False)


class Account(Base):
    """An account."""

    __tablename__ = "accounts"
    __table_args__ = {"schema": SCHEMA}  # noqa: RUF012 - SQLAlchemy's form
    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int]


class Subscriber(Base):
    """A subscriber, whose address is unique."""

    __tablename__ = "subscribers"
    __table_args__ = {"schema": SCHEMA}  # noqa: RUF012 - SQLAlchemy's form
    email: Mapped[str] = mapped_column(primary_key=True)


class Shop:
    """What a page's blocks may use of a shop.

    Args:
        url: the URL of a PostgreSQL with the tables.

    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = DBConnect.from_url(url, name="main")

    async def empty(self) -> None:
        """Delete all rows."""
        engine = create_async_engine(self.url)
        async with engine.begin() as connection:
            for table in Base.metadata.sorted_tables:
                await connection.execute(table.delete())
        await engine.dispose()

    async def add_order(self, item: str = "tea") -> Order:
        """Write an order by the context's session."""
        session = await db_session(self.connection)
        order = Order(item=item)
        session.add(order)
        await session.flush()
        return order

    async def orders(self) -> int:
        """Count the orders that are committed."""
        engine = create_async_engine(self.url)
        async with engine.connect() as observer:
            count = await observer.scalar(select(func.count(Order.id)))
        await engine.dispose()
        return int(count or 0)

    @asynccontextmanager
    async def serving(self, app: web.Application) -> AsyncGenerator[TestClient[web.Request, web.Application]]:
        """Serve an application on a real socket, and give a client."""
        async with TestClient(TestServer(app)) as client:
            yield client

    async def answer_of(self, handler: Handler, path: str = "/orders", **options: Any) -> int:
        """Return the status with which a handler answers a POST, in an application with ``setup_db``."""
        app = web.Application()
        app.router.add_post(path, handler)
        setup_db(app, [self.connection], **options)
        async with self.serving(app) as client:
            return (await client.post(path)).status

    def begin_request(self) -> None:
        """Open a context, as ``setup_db`` does for a request."""
        self._token = init_db_session_ctx()

    async def end_request(self, status: int = 200) -> None:
        """End the context of ``begin_request``."""
        await auto_commit_by_status_code(status)
        await reset_db_session_ctx(self._token)

    def names(self) -> dict[str, Any]:
        """Return the names for the blocks."""
        public = {name: getattr(context_async_sqlalchemy, name) for name in context_async_sqlalchemy.__all__}
        return {
            **public,
            "asyncio": asyncio,
            "AsyncIterator": AsyncIterator,
            "web": web,
            "ClientSession": ClientSession,
            "AsyncEngine": AsyncEngine,
            "AsyncSession": AsyncSession,
            "async_sessionmaker": async_sessionmaker,
            "create_async_engine": create_async_engine,
            "select": select,
            "func": func,
            "Handler": Handler,
            "Base": Base,
            "Order": Order,
            "Account": Account,
            "Subscriber": Subscriber,
            "database_url": self.url,
            "connection": self.connection,
            "app": web.Application(),
            "add_order": self.add_order,
            "orders": self.orders,
            "serving": self.serving,
            "answer_of": self.answer_of,
            "begin_request": self.begin_request,
            "end_request": self.end_request,
        }
