"""What the database has refused is run again: over real conflicts, and only where that does nothing twice."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

import context_async_sqlalchemy.retry
from context_async_sqlalchemy import (
    ContextNotInitiatedError,
    DBConnect,
    PartialCommitError,
    Retry,
    atomic_db_session,
    commit_db_session,
    db_context,
    db_session,
    is_retryable,
    new_non_ctx_session,
    retried,
    rollback_db_session,
    run_in_new_ctx,
    set_rollback,
)
from context_async_sqlalchemy.lifecycle import Lifecycle
from tests.conformance.statements import run, write
from tests.support.connections import connect_to, in_use
from tests.support.database import CONFLICT, FAILING_COMMIT, Database
from tests.support.recorder import Recorder

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
    with pytest.raises(ValueError, match="at least one attempt"):
        Retry(**settings)


async def _commit_early(connection: DBConnect) -> None:
    await write(connection, "committed")
    await commit_db_session(connection)


async def _commit_in_a_block(connection: DBConnect) -> None:
    async with atomic_db_session(connection):
        await write(connection, "committed")


async def _commit_the_session(connection: DBConnect) -> None:
    await write(connection, "committed")
    await (await db_session(connection)).commit()


async def _commit_within(connection: DBConnect) -> None:
    await run_in_new_ctx(write, connection, "committed")


@pytest.mark.parametrize("commit", [_commit_early, _commit_in_a_block, _commit_the_session, _commit_within])
async def test_what_has_been_committed_is_not_done_twice(
    rerun: Run, connection: DBConnect, database: Database, commit: Callable[[DBConnect], Awaitable[None]]
) -> None:
    async def function() -> None:
        await commit(connection)
        await run(connection, CONFLICT)

    with pytest.raises(DBAPIError) as raised:
        await rerun(function, Retry())
    assert await database.notes() == ["committed"]
    assert "a part of its context is committed already" in raised.value.__notes__[-1]
    assert in_use(connection) == 0


@pytest.mark.usefixtures("pauses")
async def test_a_savepoint_is_no_commit(rerun: Run, connection: DBConnect, database: Database) -> None:
    attempts: list[None] = []

    async def function() -> None:
        attempts.append(None)
        async with (await db_session(connection)).begin_nested():
            await write(connection, "written")
        if len(attempts) == 1:
            await run(connection, CONFLICT)

    await rerun(function, Retry())
    assert await database.notes() == ["written"]


async def test_a_commit_with_an_unknown_outcome_may_be_one(
    rerun: Run, connection: DBConnect, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[None] = []

    async def lose_the_connection(_session: AsyncSession) -> None:
        raise ConnectionResetError

    async def function() -> None:
        attempts.append(None)
        await write(connection, "may be committed")
        with monkeypatch.context() as patch, pytest.raises(ConnectionResetError):
            patch.setattr(AsyncSession, "commit", lose_the_connection)
            await commit_db_session(connection)
        await run(connection, CONFLICT)

    with pytest.raises(DBAPIError, match="conflict") as raised:
        await rerun(function, Retry())
    assert len(attempts) == 1
    assert "or may be" in raised.value.__notes__[-1]


async def test_a_commit_that_the_server_has_refused_is_none(
    rerun: Run, connection: DBConnect, database: Database
) -> None:
    attempts: list[None] = []

    async def function() -> None:
        attempts.append(None)
        with pytest.raises(IntegrityError):
            await run(connection, FAILING_COMMIT)
            await commit_db_session(connection)
        if len(attempts) == 1:
            await run(connection, CONFLICT)
        await write(connection, "written")

    await rerun(function, Retry(base_delay=0))
    assert await database.notes() == ["written"]


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


async def _fail_at_the_commit(serializable: DBConnect) -> None:
    """Go off call as another doctor does at the same time, who commits first."""
    session = await db_session(serializable)
    async with new_non_ctx_session(serializable) as other:
        for each in (session, other):
            await each.execute(text("SELECT body FROM notes"))
        await session.execute(text("DELETE FROM notes WHERE body = 'Ada'"))
        await other.execute(text("DELETE FROM notes WHERE body = 'Grace'"))
        await other.commit()


async def test_a_failure_of_the_commit_is_retried(rerun: Run, serializable: DBConnect, database: Database) -> None:
    for doctor in ("Ada", "Grace"):
        await run_in_new_ctx(write, serializable, doctor)
    attempts: list[None] = []

    async def function() -> None:
        attempts.append(None)
        if len(attempts) == 1:
            await _fail_at_the_commit(serializable)
        else:
            await write(serializable, "again")

    await rerun(function, Retry())
    assert len(attempts) == 2
    assert await database.notes() == ["Ada", "again"]


async def test_a_partial_commit_is_not_retried(rerun: Run, serializable: DBConnect, database: Database) -> None:
    for doctor in ("Ada", "Grace"):
        await run_in_new_ctx(write, serializable, doctor)
    first = connect_to(database.url, name="first")
    attempts: list[None] = []

    async def function() -> None:
        attempts.append(None)
        await run(first, "INSERT INTO slow_notes VALUES ('of the first connection')")
        await _fail_at_the_commit(serializable)

    with pytest.raises(PartialCommitError) as raised:
        await rerun(function, Retry())
    assert raised.value.__cause__ is not None
    assert is_retryable(raised.value.__cause__)
    assert len(attempts) == 1
    assert await database.notes("slow_notes") == ["of the first connection"]
    await first.close()


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


async def test_a_retried_function_must_not_find_an_open_transaction(connection: DBConnect, database: Database) -> None:
    @retried(Retry())
    async def function() -> None:
        await write(connection, "retried")

    async with db_context():
        await write(connection, "before")
        with pytest.raises(InvalidRequestError, match="a transaction is open already on 'main'"):
            await function()
        await rollback_db_session(connection)
        await function()
        assert await database.notes() == ["retried"]


async def test_what_was_committed_before_the_retried_function_forgoes_the_retry(
    connection: DBConnect, database: Database
) -> None:
    @retried(Retry())
    async def function() -> None:
        await run(connection, CONFLICT)

    async with db_context():
        await _commit_early(connection)
        with pytest.raises(DBAPIError) as raised:
            await function()
        assert "run_in_new_ctx(function, ..., retry=Retry())" in raised.value.__notes__[-1]
        # It is rolled back: the session can be used at once.
        await write(connection, "after")
    assert await database.notes() == ["after", "committed"]


@pytest.mark.usefixtures("pauses")
async def test_a_retried_function_within_another_is_a_part_of_it(connection: DBConnect, database: Database) -> None:
    attempts: list[None] = []

    @retried(Retry())
    async def inner() -> None:
        await write(connection, "inner")

    @retried(Retry())
    async def outer() -> None:
        attempts.append(None)
        await write(connection, "outer")
        await inner()
        assert await database.notes() == []
        if len(attempts) == 1:
            await run(connection, CONFLICT)

    async with db_context():
        await outer()
        assert await database.notes() == ["inner", "outer"]


@pytest.mark.usefixtures("pauses")
async def test_a_retried_function_in_a_retried_context_is_a_part_of_it(connection: DBConnect) -> None:
    attempts: list[None] = []

    @retried(Retry(attempts=5))
    async def function() -> None:
        attempts.append(None)
        await run(connection, CONFLICT)

    with pytest.raises(DBAPIError, match="conflict"):
        await run_in_new_ctx(function, retry=Retry(attempts=2))
    assert len(attempts) == 2


async def test_a_retried_function_that_sets_rollback_commits_nothing(connection: DBConnect, database: Database) -> None:
    @retried(Retry())
    async def function() -> None:
        await write(connection, "discarded")
        set_rollback()

    async with db_context():
        await function()
    assert await database.notes() == []


async def test_a_retried_function_needs_a_context() -> None:
    @retried(Retry())
    async def function() -> None:
        raise AssertionError("must not run")

    with pytest.raises(ContextNotInitiatedError):
        await function()


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
