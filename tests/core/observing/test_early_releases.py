"""What is told of early releases."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from context_async_sqlalchemy import (
    DBConnect,
    close_all_sessions,
    close_db_session,
    commit_all_sessions,
    commit_db_session,
    db_context,
    db_session,
    rollback_db_session,
)
from context_async_sqlalchemy.adapter_kit import (
    current_context,
    release_by_status,
)
from tests.conformance.statements import run, write
from tests.support.recorder import Recorder


async def _close_by_sqlalchemy(connection: DBConnect) -> None:
    await (await db_session(connection)).close()


async def _commit_by_sqlalchemy(connection: DBConnect) -> None:
    await (await db_session(connection)).commit()


async def _commit_all(_connection: DBConnect) -> None:
    await commit_all_sessions()


async def _close_all(_connection: DBConnect) -> None:
    await close_all_sessions()


async def _send_headers(_connection: DBConnect) -> None:
    await release_by_status(current_context(), 200)


@pytest.mark.parametrize(
    ("release", "cause"),
    [
        (commit_db_session, "commit"),
        (rollback_db_session, "rollback"),
        (close_db_session, "close"),
        (_commit_by_sqlalchemy, "commit"),
        (_close_by_sqlalchemy, "rollback"),
        (_commit_all, "commit"),
        (_close_all, "close"),
        (_send_headers, "headers"),
    ],
)
async def test_an_early_release_lasts_until_the_next_checkout_or_the_end(
    observed: DBConnect, recorder: Recorder, release: Callable[[DBConnect], Awaitable[None]], cause: str
) -> None:
    async with db_context():
        await run(observed, "SELECT 1")
        await release(observed)
        assert recorder.early == []
        await asyncio.sleep(0.02)
        await run(observed, "SELECT 1")
        assert len(recorder.early) == 1
        await release(observed)
        await asyncio.sleep(0.02)
    assert [early.checkout for early in recorder.early] == recorder.checkouts
    assert [(checkout.released_by, checkout.is_early) for checkout in recorder.checkouts] == [(cause, True)] * 2
    assert all(0.02 <= early.saved_seconds < 1 for early in recorder.early)
    first, second = recorder.early
    assert first.ended_at == second.checkout.taken_at
    (context,) = recorder.contexts
    assert second.ended_at == context.ended_at
    assert context.early_releases == recorder.early
    assert context.checkouts == recorder.checkouts


async def test_what_is_released_at_the_end_is_not_early(observed: DBConnect, recorder: Recorder) -> None:
    async with db_context():
        await write(observed, "x")
    (checkout,) = recorder.checkouts
    assert (checkout.released_by, checkout.is_early, recorder.early) == ("end", False, [])


async def test_a_lost_connection_is_no_early_release(observed: DBConnect, recorder: Recorder) -> None:
    async with db_context():
        await run(observed, "SELECT 1")
        await (await db_session(observed)).invalidate()
    (checkout,) = recorder.checkouts
    assert (checkout.released_by, checkout.is_early, recorder.early) == ("invalidation", False, [])
    assert checkout.transactions[0].outcome == "lost"
