"""A few hundred requests of each framework leave nothing behind."""

import asyncio
import gc
import logging
from collections.abc import Generator
from typing import Any
from weakref import ref

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import Context, Lifecycle, finish, leave_context, open_context
from context_async_sqlalchemy.observer import ContextRecord, Observer
from tests.conformance.statements import run
from tests.proof.report import REPORT
from tests.proof.soak.gauges import count_objects
from tests.proof.soak.load import Load, calm
from tests.proof.soak.serving import FRAMEWORKS, Serve
from tests.support.connections import connect_to, in_use
from tests.support.database import FAILING_COMMIT, Database

# These tests work for as long as they take, and wait for nothing.
pytestmark = pytest.mark.timeout(300)

SUITE = "soak"
CLIENTS = 4
CONNECTIONS = 2 * CLIENTS
WARM_UP = 200
REQUESTS = 300
SAMPLES = 3
BATCH = 40
TOLERANCE = 4
# One failure has been seen to stay for a while under load. A failure that stayed with its request would be 24 of these.
TOLERANCE_OF_TRACEBACKS = 100
# asyncio's transport of a pooled connection keeps the contextvars of the request in which it was made: the ended
# context, and Sanic's variable for the request, which has a context beside a nested one.
KEPT_BY_A_CONNECTION = {"contexts": 2, "requests": 1}


@pytest.fixture(autouse=True)
def _no_log() -> Generator[None]:
    """Let nothing be logged: pytest keeps the records, and they keep exceptions."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def _grown(serve: Serve, connection: DBConnect, **options: Any) -> dict[str, int]:
    """Serve and load; return which objects have become more, and by how many."""
    async with serve(connection, **options) as port:
        load, idle = Load(port, CLIENTS), len(asyncio.all_tasks())
        await load.send(WARM_UP)
        before = await _least(load, idle)
        await load.send(REQUESTS)
        after = await _least(load, idle)
        assert in_use(connection) == 0
    assert {"200", "500"} <= load.statuses.keys()
    REPORT.suite(SUITE).count("requests", load.sent)
    return {name: after[name] - before[name] for name in before if after[name] - before[name] > _tolerance(name)}


def _tolerance(name: str) -> int:
    if name == "tracebacks":
        return TOLERANCE_OF_TRACEBACKS
    return TOLERANCE + CONNECTIONS * KEPT_BY_A_CONNECTION.get(name, 0)


async def _least(load: Load, idle: int) -> dict[str, int]:
    # A sample may find objects that the loop, or a client that has hung up, lets go a moment later.
    samples: list[dict[str, int]] = []
    for _ in range(SAMPLES):
        await load.send(BATCH)
        await calm(idle)
        samples.append(count_objects())
    return {name: min(sample[name] for sample in samples) for name in samples[0]}


@pytest.fixture
def pooled(database: Database) -> DBConnect:
    """Give the test a connection that its application closes."""
    return connect_to(database.url, pool_size=CONNECTIONS)


@pytest.mark.parametrize("framework", ["aiohttp", "sanic", "starlette"])
async def test_requests_leave_nothing_behind(pooled: DBConnect, framework: str) -> None:
    assert await _grown(FRAMEWORKS[framework], pooled) == {}


async def test_a_planted_leak_is_found(pooled: DBConnect) -> None:
    kept: list[AsyncSession] = []

    async def keep(session: AsyncSession) -> None:
        kept.append(session)

    assert "sessions" in await _grown(FRAMEWORKS["aiohttp"], pooled, before_commit=keep)
    REPORT.suite(SUITE).count("planted leaks found")


class _Deaf(Observer):
    """An observer, so that there are records, which keeps none of them."""

    def context_ended(self, context: ContextRecord) -> None:
        pass


class _Local:
    """Something big that a handler has in a local variable."""


async def test_an_ended_context_keeps_no_frame_of_its_failed_commit(connection: DBConnect) -> None:
    async def fail(lifecycle: Lifecycle) -> tuple[Context, "ref[_Local]"]:
        local = _Local()
        context, token = open_context(lifecycle)
        try:
            await run(connection, FAILING_COMMIT)
            with pytest.raises(IntegrityError):
                await finish(context, commit=True)
        finally:
            leave_context(token)
        return context, ref(local)

    context, local = await fail(Lifecycle([connection], observers=[_Deaf()]))
    gc.collect()
    assert context.has_ended
    assert local() is None
