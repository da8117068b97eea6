"""What the database has refused is run again: over real conflicts, and only so often."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

import context_async_sqlalchemy.retry
from context_async_sqlalchemy import (
    DBConnect,
    Retry,
    db_session,
    is_retryable,
    run_in_new_ctx,
    set_rollback,
)
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.conformance.statements import run, write
from tests.core.conftest import Run
from tests.support.connections import in_use
from tests.support.database import CONFLICT, FAILING_COMMIT, Database
from tests.support.recorder import Recorder


async def _leave(connection: DBConnect, doctor: str, both_have_looked: asyncio.Barrier, attempts: list[str]) -> None:
    """Go off call if another doctor stays: two who look at once both leave, unless the database prevents it."""
    attempts.append(doctor)
    session = await db_session(connection)
    on_call = (await session.scalars(text("SELECT body FROM notes"))).all()
    if attempts.count(doctor) == 1:
        await both_have_looked.wait()
    if len(on_call) > 1:
        await session.execute(text("DELETE FROM notes WHERE body = :doctor"), {"doctor": doctor})


async def test_a_write_skew_is_prevented_and_both_functions_succeed(
    rerun: Run, serializable: DBConnect, database: Database
) -> None:
    for doctor in ("Ada", "Grace"):
        await run_in_new_ctx(write, serializable, doctor)
    both_have_looked = asyncio.Barrier(2)
    attempts: list[str] = []
    await asyncio.gather(
        *(
            rerun(lambda doctor=doctor: _leave(serializable, doctor, both_have_looked, attempts), Retry())  # type: ignore[misc]
            for doctor in ("Ada", "Grace")
        )
    )
    assert len(await database.notes()) == 1
    assert len(attempts) == 3
    assert in_use(serializable) == 0


async def test_a_deadlock_is_resolved(rerun: Run, connection: DBConnect, database: Database) -> None:
    for body in ("one", "other"):
        await run_in_new_ctx(write, connection, body)
    recorder = Recorder()
    lifecycle = Lifecycle([connection], observers=[recorder])
    both_hold_one = asyncio.Barrier(2)
    attempts: list[str] = []

    async def update(first: str, second: str) -> None:
        attempts.append(first)
        await run(connection, f"UPDATE notes SET body = body || '!' WHERE body LIKE '{first}%'")
        if attempts.count(first) == 1:
            await both_hold_one.wait()
        await run(connection, f"UPDATE notes SET body = body || '!' WHERE body LIKE '{second}%'")

    await asyncio.gather(rerun(lambda: update("one", "other"), Retry()), rerun(lambda: update("other", "one"), Retry()))
    assert await database.notes() == ["one!!", "other!!"]
    assert [attempt.sqlstate for attempt in recorder.retries] == ["40P01"]
    await lifecycle.shut_down()


@pytest.mark.usefixtures("pauses")
async def test_what_a_failed_attempt_wrote_is_not_kept(rerun: Run, connection: DBConnect, database: Database) -> None:
    attempts: list[int] = []

    async def function() -> None:
        attempts.append(in_use(connection))
        await write(connection, f"attempt {len(attempts)}")
        if len(attempts) < 3:
            set_rollback()
            await run(connection, CONFLICT)

    await rerun(function, Retry())
    # And the connection of the last attempt was back.
    assert attempts == [0, 0, 0]
    assert await database.notes() == ["attempt 3"]


async def test_attempts_are_bounded_and_waits_grow_and_are_random(
    rerun: Run, connection: DBConnect, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[None] = []

    async def function() -> None:
        attempts.append(None)
        await run(connection, CONFLICT)

    with pytest.raises(DBAPIError) as raised:
        await rerun(function, Retry(attempts=4, base_delay=1, max_delay=3))
    assert len(attempts) == 4
    assert raised.value.__notes__ == ["not run again: this was attempt 4 of 4"]
    assert [0 <= pause <= longest for pause, longest in zip(pauses, (1, 2, 3), strict=True)] == [True] * 3
    assert len(set(pauses)) == 3

    def longest_of(_shortest: float, longest: float) -> float:
        return longest

    monkeypatch.setattr("random.uniform", longest_of)
    retry = Retry(attempts=10_000, base_delay=1, max_delay=3)
    assert [retry.delay(attempt) for attempt in (1, 2, 3, 9999)] == [1, 2, 3, 3]


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"base_delay": -1}, {"max_delay": -1}])
def test_a_retry_that_makes_no_sense_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Retry(**settings)


async def test_other_errors_are_raised_at_once(rerun: Run, connection: DBConnect) -> None:
    attempts: list[None] = []

    async def function() -> None:
        attempts.append(None)
        await run(connection, FAILING_COMMIT)

    with pytest.raises(IntegrityError) as raised:
        await rerun(function, Retry())
    assert len(attempts) == 1
    assert not hasattr(raised.value, "__notes__")
    assert not is_retryable(raised.value)


async def test_a_cancellation_during_the_wait_ends_it(
    rerun: Run, connection: DBConnect, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.Event()
    attempts: list[None] = []

    async def pause(_seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    for module in ("retry", "run_in_new_context"):
        monkeypatch.setattr(f"context_async_sqlalchemy.{module}.pause", pause)

    async def function() -> None:
        attempts.append(None)
        await run(connection, CONFLICT)

    task = asyncio.ensure_future(rerun(function, Retry()))
    await waiting.wait()
    assert in_use(connection) == 0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(attempts) == 1
    assert in_use(connection) == 0


async def test_observers_hear_of_each_retry(rerun: Run, connection: DBConnect) -> None:
    recorder = Recorder()
    lifecycle = Lifecycle([connection], observers=[recorder])

    async def function() -> None:
        await run(connection, CONFLICT)

    with pytest.raises(DBAPIError) as raised:
        await rerun(function, Retry(attempts=3, base_delay=0))
    assert [(each.sqlstate, each.attempt, each.route) for each in recorder.retries] == [
        ("40001", 1, "none"),
        ("40001", 2, "none"),
    ]
    assert [each.pool.name for each in recorder.retries if each.pool is not None] == ["main", "main"]
    assert all(is_retryable(each.error) for each in recorder.retries)
    assert raised.value not in [each.error for each in recorder.retries]
    await lifecycle.shut_down()


async def test_a_driver_without_sqlstates_has_nothing_to_retry(rerun: Run, tmp_path: Path) -> None:
    connection = DBConnect.from_url(f"sqlite+aiosqlite:///{tmp_path}/test.db")
    with pytest.raises(DBAPIError) as raised:
        await rerun(lambda: run(connection, "SELECT nothing"), Retry())
    assert not is_retryable(raised.value)
    await connection.close()


async def test_a_retry_of_another_type_is_the_functions_own_argument() -> None:
    async def function(*, retry: int) -> int:
        return retry

    assert await run_in_new_ctx(function, retry=3) == 3


async def test_the_wait_is_a_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await context_async_sqlalchemy.retry.pause(0.25)
    assert slept == [0.25]
