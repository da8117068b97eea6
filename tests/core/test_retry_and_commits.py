"""What is committed is never done twice; a COMMIT that fails may be."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import (
    DBConnect,
    PartialCommitError,
    Retry,
    atomic_db_session,
    commit_db_session,
    db_session,
    is_retryable,
    new_non_ctx_session,
    run_in_new_ctx,
)
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.conformance.statements import run, write
from tests.core.conftest import Run
from tests.support.connections import connect_to, in_use
from tests.support.database import CONFLICT, FAILING_COMMIT, Database
from tests.support.recorder import Recorder


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


@pytest.mark.usefixtures("pauses")
async def test_a_commit_of_nothing_is_none(rerun: Run, connection: DBConnect, database: Database) -> None:
    attempts: list[None] = []

    async def function() -> None:
        attempts.append(None)
        # There may be no session yet, and then one that is in no transaction.
        await commit_db_session(connection)
        await db_session(connection)
        await commit_db_session(connection)
        await write(connection, "written")
        if len(attempts) == 1:
            await run(connection, CONFLICT)

    await rerun(function, Retry())
    assert len(attempts) == 2
    assert await database.notes() == ["written"]


@pytest.mark.usefixtures("pauses")
async def test_a_retry_after_a_refused_commit_names_its_pool(rerun: Run, serializable: DBConnect) -> None:
    recorder = Recorder()
    lifecycle = Lifecycle([serializable], observers=[recorder])
    for doctor in ("Ada", "Grace"):
        await run_in_new_ctx(write, serializable, doctor)
    attempts: list[None] = []

    async def function() -> None:
        attempts.append(None)
        if len(attempts) == 1:
            await _fail_at_the_commit(serializable)

    await rerun(function, Retry())
    assert [each.pool.name for each in recorder.retries if each.pool is not None] == ["main"]
    await lifecycle.shut_down()


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
