"""Units of work as applications write them, through the public names alone."""

import asyncio

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import (
    DBConnect,
    Retry,
    commit_db_session,
    db_context,
    db_session,
    retried,
    rollback_db_session,
    run_in_new_ctx,
)
from context_async_sqlalchemy.test_utils import rolled_back
from tests.proof.suspension.aiohttp_site import AiohttpSite, answer, converse, stream
from tests.proof.suspension.atomic import atomic_appends, atomic_commits, atomic_refuses, atomic_rolls_back
from tests.proof.sweeping.rows import Row
from tests.proof.sweeping.stage import Stage
from tests.proof.sweeping.world import Scenario
from tests.support.database import CONFLICT

SOME_ROWS = text("SELECT generate_series(1, 500)")


async def read(connection: DBConnect) -> None:
    """Run a SELECT on the session of the context."""
    await (await db_session(connection)).execute(text("SELECT 1"))


async def add_only(stage: Stage) -> None:
    """Add objects and nothing else: the flush at the end takes the connection."""
    with stage.told("unit"):
        async with db_context():
            await stage.add("unit", 1, 2)


async def select_then_add(stage: Stage) -> None:
    """Read first, so that the connection is there when the end comes."""
    with stage.told("unit"):
        async with db_context():
            await read(stage.connection)
            await stage.add("unit", 1, 2)


async def read_only(stage: Stage) -> None:
    """Read and write nothing."""
    with stage.told():
        async with db_context():
            await read(stage.connection)


async def two_functions(stage: Stage) -> None:
    """Let two functions share the session, one after another and both at once."""

    async def first() -> None:
        await stage.write("unit", 1)

    async def second() -> None:
        await stage.add("unit", 2)

    with stage.told("unit", rows=3):
        async with db_context():
            await first()
            await asyncio.gather(second(), stage.add("unit", 3))


async def early_commit(stage: Stage) -> None:
    """Commit early, and go on."""
    async with db_context():
        with stage.told("early"):
            await stage.write("early", 1, 2)
            await commit_db_session(stage.connection)
        with stage.told("read"):
            await stage.add("read", 1, 2)
            await (await db_session(stage.connection)).scalars(select(Row).where(Row.unit == f"{stage.schedule}early"))
            await commit_db_session(stage.connection)
        await rollback_db_session(stage.connection)


async def early_commit_and_end(stage: Stage) -> None:
    """Commit early, and let the end of the context commit the rest."""
    with stage.told("early", "late") as told:
        async with db_context():
            await stage.write("early", 1, 2)
            await commit_db_session(stage.connection)
            told.success("early")
            await stage.write("late", 1, 2)


async def nested_block(stage: Stage) -> None:
    """Open a context within another."""
    with stage.told("outer"):
        async with db_context():
            await stage.write("outer", 1)
            with stage.told("inner"):
                async with db_context():
                    await stage.write("inner", 1, 2)
            await stage.add("outer", 2)


async def nested_function(stage: Stage) -> None:
    """Run a function in a context of its own within another."""

    async def work() -> None:
        await stage.add("inner", 1, 2)

    with stage.told("outer"):
        async with db_context():
            await stage.add("outer", 1, 2)
            with stage.told("inner"):
                await run_in_new_ctx(work)


async def two_connections(stage: Stage) -> None:
    """Write to two databases."""
    main, other = stage.connections
    with stage.told("main", "other"):
        async with db_context():
            await stage.write("main", 1, 2, connection=main)
            await stage.add("other", 1, 2, connection=other)


async def savepoints(stage: Stage) -> None:
    """Keep one SAVEPOINT and give another up."""
    with stage.told("unit"):
        async with db_context():
            session = await db_session(stage.connection)
            await stage.add("unit", 1)
            async with session.begin_nested():
                await stage.add("unit", 2)
            given_up = await session.begin_nested()
            await stage.write("unit", 3)
            await given_up.rollback()


async def stream_given_up(stage: Stage) -> None:
    """Give a server-side cursor up in the middle."""
    with stage.told("unit"):
        async with db_context():
            session = await db_session(stage.connection)
            async for _row in await session.stream(SOME_ROWS, execution_options={"yield_per": 200}):
                break
            await stage.add("unit", 1, 2)


async def stream_read(stage: Stage) -> None:
    """Read a server-side cursor to its end."""
    with stage.told("unit"):
        async with db_context():
            session = await db_session(stage.connection)
            async for _row in await session.stream(SOME_ROWS, execution_options={"yield_per": 200}):
                pass
            await stage.add("unit", 1, 2)


async def gathered(stage: Stage) -> None:
    """Run two contexts at once."""

    async def work(unit: str) -> None:
        await stage.write(unit, 1)
        await stage.add(unit, 2)

    async def one(unit: str) -> None:
        with stage.told(unit):
            await run_in_new_ctx(work, unit)

    await asyncio.gather(one("left"), one("right"))


async def run_again(stage: Stage) -> None:
    """Run a function again whose first transaction the database has refused."""
    attempts = 0

    @retried(Retry(attempts=3, base_delay=0, max_delay=0))
    async def work() -> None:
        nonlocal attempts
        attempts += 1
        await stage.write("unit", 1, 2)
        if attempts == 1:
            await (await db_session(stage.connection)).execute(text(CONFLICT))

    async with db_context():
        with stage.told("unit"):
            await work()


async def hooks(stage: Stage) -> None:
    """Commit between the hooks of an application."""
    with stage.told("unit"):
        async with db_context():
            session = await db_session(stage.connection)
            session.info["late row"] = stage.row("unit", 2)
            await stage.add("unit", 1)


async def write_before_commit(session: AsyncSession) -> None:
    """Write the last row of a unit: a hook before its commit."""
    row: Row | None = session.info.pop("late row", None)
    if row is not None:
        await session.execute(text("SELECT 1"))
        session.add(row)


async def read_after_commit(session: AsyncSession) -> None:
    """Use the session once more: a hook after the commit."""
    await session.execute(text("SELECT 1"))


async def rolled_back_block(stage: Stage) -> None:
    """Commit within an outer transaction that is rolled back."""
    async with rolled_back(stage.connection, turn_timeout=5):
        with stage.told("unit"):
            async with db_context():
                await stage.write("unit", 1)
                await stage.add("unit", 2)
        async with db_context():
            await read(stage.connection)


async def worker(stage: Stage) -> None:
    """Work through messages: a context for each, and one that fails."""
    for message in ("first", "second", "third"):
        try:
            with stage.told(message) as told:
                async with db_context():
                    await stage.add(message, 1, 2)
                    if message == "second":
                        told.discarded(message)
                        raise LookupError(message)
        except LookupError:
            continue


async def background_job(stage: Stage) -> None:
    """Start a job that outlives the context in which it was started."""

    async def work() -> None:
        await stage.write("job", 1)
        await stage.add("job", 2)

    async def run() -> None:
        with stage.told("job"):
            await run_in_new_ctx(work)

    with stage.told("starter"):
        async with db_context():
            await stage.write("starter", 1, 2)
            job = asyncio.create_task(run())
    await job


SCENARIOS = [
    Scenario("add-only", add_only),
    Scenario("add-only-cold", add_only, is_cold=True),
    Scenario("select-then-add", select_then_add),
    Scenario("read-only", read_only),
    Scenario("two-functions", two_functions),
    Scenario("early-commit", early_commit),
    Scenario("early-commit-and-end", early_commit_and_end),
    Scenario("nested-block", nested_block),
    Scenario("nested-function", nested_function),
    Scenario("two-connections", two_connections, connections=2),
    Scenario("savepoints", savepoints),
    Scenario("stream-given-up", stream_given_up),
    Scenario("stream-read", stream_read),
    Scenario("gathered", gathered, goes_on=True),
    Scenario("atomic-commit", atomic_commits),
    Scenario("atomic-rollback", atomic_rolls_back),
    Scenario("atomic-append", atomic_appends),
    Scenario("atomic-raise", atomic_refuses),
    Scenario("retried", run_again),
    Scenario("hooks", hooks, before_commit=write_before_commit, after_commit=read_after_commit),
    Scenario("rolled-back", rolled_back_block, is_visible=False),
    Scenario("worker", worker),
    Scenario("background-job", background_job, goes_on=True),
    Scenario("aiohttp-response", site=AiohttpSite(answer, "unit")),
    Scenario("aiohttp-stream", site=AiohttpSite(stream, "head", "body")),
    Scenario("aiohttp-websocket", site=AiohttpSite(converse)),
]
