"""What the handlers of the applications do."""

import asyncio
import os
import time

from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, commit_db_session, db_session, run_in_new_ctx

PAYMENT_SECONDS = 0.1


def connect() -> DBConnect:
    return DBConnect.from_url(os.environ["DATABASE_URL"], name="shop", pool_size=3)


async def query(connection: DBConnect) -> None:
    await (await db_session(connection)).execute(text("SELECT 1"))


async def pay() -> None:
    await asyncio.sleep(PAYMENT_SECONDS)  # the provider answers


async def pay_late(connection: DBConnect) -> None:
    """Hold a connection while the payment is made."""
    await query(connection)
    await pay()
    await query(connection)


async def pay_early(connection: DBConnect) -> None:
    """Give the connection back first."""
    await query(connection)
    await commit_db_session(connection)
    await pay()


async def compute(connection: DBConnect) -> None:
    """Block the event loop while a connection is held."""
    await query(connection)
    time.sleep(PAYMENT_SECONDS)  # noqa: ASYNC251 - that is the mistake


async def nest(connection: DBConnect) -> None:
    await query(connection)
    await run_in_new_ctx(query, connection)  # the second


async def nest_in_tasks(connection: DBConnect) -> None:
    await query(connection)
    await asyncio.gather(run_in_new_ctx(query, connection), pay())


async def side_by_side(connection: DBConnect) -> None:
    """Use two connections at once, without holding one while the other is waited for."""
    await asyncio.gather(run_in_new_ctx(query, connection), run_in_new_ctx(query, connection))


async def audit(connection: DBConnect, answered: asyncio.Event) -> None:
    """Use the context of the request after its end."""
    await answered.wait()
    await query(connection)  # too late
