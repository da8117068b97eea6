"""Scenarios that go on after a fault; and those of the suspension sweep that meet faults of their own."""

import asyncio
from contextlib import suppress
from typing import Any

from sqlalchemy import text

from context_async_sqlalchemy import (
    atomic_db_session,
    commit_db_session,
    db_context,
    db_session,
    rollback_db_session,
)
from tests.proof.suspension.scenarios import SCENARIOS as CANCELLED
from tests.proof.suspension.scenarios import SOME_ROWS, hooks, read, write_before_commit
from tests.proof.sweeping.stage import Stage
from tests.proof.sweeping.world import Scenario
from tests.support.waiting import turns

_TIME_LIMIT = 0.2

_SHARED = {
    "add-only",
    "select-then-add",
    "early-commit-and-end",
    "nested-function",
    "two-connections",
    "savepoints",
    "stream-read",
    "gathered",
    "atomic-commit",
    "retried",
    "aiohttp-response",
}


async def goes_on(stage: Stage) -> None:
    """Fail to commit early, roll back, and use the session of the same context again."""
    async with db_context():
        has_failed = False
        try:
            with stage.told("early"):
                await stage.write("early", 1, 2)
                # So that the driver notices the loss of its connection before the COMMIT.
                await turns()
                await commit_db_session(stage.connection)
        except Exception:  # noqa: BLE001 - whatever the fault brings
            has_failed = True
            await stage.recover()
            await rollback_db_session(stage.connection)
        with stage.told("late", is_due=has_failed):
            await stage.write("late", 1, 2)
            await commit_db_session(stage.connection)


async def limits_its_time(stage: Stage) -> None:
    """Give a statement up after some time, roll back, and use the session of the same context again."""
    async with db_context():
        has_failed = False
        try:
            with stage.told("early"):
                await stage.add("early", 1, 2)
                async with asyncio.timeout(_TIME_LIMIT):
                    await read(stage.connection)
                await commit_db_session(stage.connection)
        except Exception:  # noqa: BLE001 - whatever the fault brings
            has_failed = True
            await stage.recover()
            await rollback_db_session(stage.connection)
        with stage.told("late", is_due=has_failed):
            async with atomic_db_session(stage.connection), asyncio.timeout(_TIME_LIMIT):
                await stage.write("late", 1, 2)


async def atomic_worker(stage: Stage) -> None:
    """Work through messages in one context, each in ``atomic_db_session``."""
    has_failed = False
    async with db_context():
        for message in ("first", "second"):
            try:
                with stage.told(message, is_due=has_failed):
                    async with atomic_db_session(stage.connection):
                        await stage.write(message, 1, 2)
                        await turns()
            except Exception:  # noqa: BLE001 - whatever the fault brings
                has_failed = True
                await stage.recover()


async def worker(stage: Stage) -> None:
    """Work through messages, a context for each."""
    has_failed = False
    for message in ("first", "second"):
        try:
            with stage.told(message, is_due=has_failed):
                async with db_context():
                    await stage.add(message, 1, 2)
        except Exception:  # noqa: BLE001 - whatever the fault brings
            has_failed = True
            await stage.recover()


async def swallows(stage: Stage) -> None:
    """Go on after a statement that has failed, as if nothing were the matter."""
    with stage.told("unit", swallows=True):
        async with db_context():
            await stage.write("unit", 1, 2)
            with suppress(Exception):
                await (await db_session(stage.connection)).execute(text("SELECT 1"))


async def swallows_in_stream(stage: Stage) -> None:
    """Go on after a server-side cursor has failed in the middle, as if it had been read to its end."""
    with stage.told("unit", swallows=True):
        async with db_context():
            await stage.write("unit", 1, 2)
            session = await db_session(stage.connection)
            with suppress(Exception):
                async for _row in await session.stream(SOME_ROWS, execution_options={"yield_per": 200}):
                    pass


async def swallows_of_the_driver(stage: Stage) -> None:
    """Go on after a statement that was given to the driver itself has failed."""
    with stage.told("unit", swallows=True):
        async with db_context():
            await stage.write("unit", 1, 2)
            pooled = await (await (await db_session(stage.connection)).connection()).get_raw_connection()
            driver: Any = pooled.driver_connection
            with suppress(Exception):
                await driver.fetch("SELECT 1")


async def nested_failure(stage: Stage) -> None:
    """Commit although what was done in a context within has failed."""
    with stage.told("outer"):
        async with db_context():
            await stage.write("outer", 1, 2)
            try:
                with stage.told("inner"):
                    async with db_context():
                        await read(stage.connection)
                        await stage.add("inner", 1, 2)
            except Exception:  # noqa: BLE001 - whatever the fault brings
                await stage.recover()


SCENARIOS = [
    *(scenario for scenario in CANCELLED if scenario.name in _SHARED),
    Scenario("hook", hooks, before_commit=write_before_commit),
    Scenario("goes-on", goes_on),
    Scenario("time-limit", limits_its_time, has_time_limit=True),
    Scenario("atomic-worker", atomic_worker),
    Scenario("worker", worker),
    Scenario("swallows", swallows),
    Scenario("swallows-in-stream", swallows_in_stream),
    Scenario("nested-failure", nested_failure),
]
