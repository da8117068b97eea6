"""The shop's database: a schema of its own with a few products and customers, gone when the block ends."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.schema import CreateSchema, DropSchema

from context_async_sqlalchemy import DBConnect, db_context, db_session
from examples.shop.pool import CountingPool
from examples.shop.schema import Base, Customer, Product

POOL_SIZE = 3
"""Small on purpose: a request that keeps its connection too long makes others wait."""
PRODUCTS = 200
CUSTOMERS = 50
INITIAL_STOCK = 1_000_000


@asynccontextmanager
async def open_database(url: str) -> AsyncGenerator[DBConnect]:
    """Make the tables in a new schema, so that nothing else in a given database is touched.

    Args:
        url: the SQLAlchemy URL of a PostgreSQL database.

    """
    schema = f"shop_demo_{secrets.token_hex(4)}"
    connection = DBConnect.from_url(
        url,
        name="main",
        pool_size=POOL_SIZE,
        max_overflow=0,
        poolclass=CountingPool,
        execution_options={"schema_translate_map": {None: schema}},
    )
    try:
        async with db_context():
            await _create_tables(connection, schema)
        try:
            yield connection
        finally:
            # The application disposes of its connections when it stops; this makes a new one, for the last time.
            async with db_context():
                session = await db_session(connection)
                # Only a leaked connection could still have a lock here: an error then, instead of waiting for ever.
                await session.execute(text("SET LOCAL lock_timeout = '5s'"))
                await session.execute(DropSchema(schema, cascade=True))
    finally:
        await connection.close()


async def _create_tables(connection: DBConnect, schema: str) -> None:
    session = await db_session(connection)
    await session.execute(CreateSchema(schema))
    await (await session.connection()).run_sync(Base.metadata.create_all)
    session.add_all(
        Product(name=f"Product {number}", price_cents=100 + 7 * number, stock=INITIAL_STOCK)
        for number in range(1, PRODUCTS + 1)
    )
    session.add_all(Customer(name=f"Customer {number}") for number in range(1, CUSTOMERS + 1))
