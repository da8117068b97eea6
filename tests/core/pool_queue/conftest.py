"""The engines that the queue is tested on."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.core.observing.engines import engine_of, select_on
from tests.core.pool_queue.places import MakeEngine
from tests.support.database import Database
from tests.support.recorder import Recorder


@pytest.fixture(params=["psycopg, from_url", "asyncpg, from_engine, observed"])
async def make_engine(request: pytest.FixtureRequest, database: Database) -> AsyncGenerator[MakeEngine]:
    """Give the test what makes an engine of a DBConnect, whose dialect is initialized and whose pool is empty."""
    driver, way, *is_observed = request.param.split(", ")
    url = make_url(database.url).set(drivername=f"postgresql+{driver}")
    made: list[DBConnect] = []

    async def make(**options: Any) -> AsyncEngine:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 20, **options}
        if way == "from_url":
            connection = DBConnect.from_url(url, **options)
        else:
            connection = DBConnect.from_engine(create_async_engine(url, **options))
        made.append(connection)
        if is_observed:
            Lifecycle([connection], observers=[Recorder()])
        engine = await engine_of(connection)
        await select_on(engine)
        await engine.dispose()
        return engine

    yield make
    for connection in made:
        await connection.close()
