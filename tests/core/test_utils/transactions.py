"""A transaction of another task."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from context_async_sqlalchemy import (
    DBConnect,
    run_in_new_ctx,
)
from tests.conformance.statements import write


@asynccontextmanager
async def open_transaction(connection: DBConnect, body: str) -> AsyncGenerator[None]:
    """Have another task write, and commit after the block."""
    written, go_on = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        await write(connection, body)
        written.set()
        await go_on.wait()

    task = asyncio.create_task(run_in_new_ctx(job))
    await written.wait()
    try:
        yield
    finally:
        go_on.set()
        await task
