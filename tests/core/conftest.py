"""The two ways of running a function again, without the waits in between."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from sqlalchemy import make_url

from context_async_sqlalchemy import (
    DBConnect,
    Retry,
    db_context,
    retried,
    run_in_new_ctx,
)
from tests.support.database import Database

Run = Callable[[Callable[[], Awaitable[None]], Retry], Awaitable[None]]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not wait between attempts; keep for how long it would have been."""
    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)

    for module in ("retry", "run_in_new_context"):
        monkeypatch.setattr(f"context_async_sqlalchemy.{module}.pause", pause)
    return waited


async def _in_a_new_context(function: Callable[[], Awaitable[None]], retry: Retry) -> None:
    await run_in_new_ctx(function, retry=retry)


async def _within_a_context(function: Callable[[], Awaitable[None]], retry: Retry) -> None:
    async with db_context():
        await retried(retry)(function)()


@pytest.fixture(params=[_in_a_new_context, _within_a_context], ids=["run_in_new_ctx", "retried"])
def rerun(request: pytest.FixtureRequest) -> Run:
    """Give the test each of the two ways."""
    run: Run = request.param
    return run


@pytest.fixture(params=["asyncpg", "psycopg"])
async def serializable(request: pytest.FixtureRequest, database: Database) -> AsyncGenerator[DBConnect]:
    """Give the test a connection whose transactions are SERIALIZABLE, on each driver."""
    url = make_url(database.url).set(drivername=f"postgresql+{request.param}")
    connection = DBConnect.from_url(url, name="main", isolation_level="SERIALIZABLE", pool_size=2, max_overflow=0)
    yield connection
    await connection.close()
