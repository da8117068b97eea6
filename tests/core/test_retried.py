"""The decorator ``retried``: a unit of work within a context."""

import pytest
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from context_async_sqlalchemy import (
    ContextNotInitiatedError,
    DBConnect,
    Retry,
    commit_db_session,
    db_context,
    retried,
    rollback_db_session,
    run_in_new_ctx,
    set_rollback,
)
from tests.conformance.statements import run, write
from tests.support.database import CONFLICT, Database


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
        await write(connection, "committed")
        await commit_db_session(connection)
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
