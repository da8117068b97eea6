"""The decorator ``retried``: a unit of work within a context."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError

from context_async_sqlalchemy import (
    ContextNotInitiatedError,
    DBConnect,
    Retry,
    commit_db_session,
    db_context,
    db_session,
    retried,
    rollback_db_session,
    run_in_new_ctx,
    set_rollback,
)
from tests.conformance.statements import run, write
from tests.support.connections import connect_to, in_use
from tests.support.database import CONFLICT, FAILING_COMMIT, SLOW_COMMIT_STATEMENT, Database


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


@pytest.fixture
async def other(database: Database) -> AsyncGenerator[DBConnect]:
    """Give the test a second connection."""
    connection = connect_to(database.url, name="other")
    yield connection
    await connection.close()


async def _raise(_connection: DBConnect) -> None:
    raise LookupError


async def _violate_a_constraint(connection: DBConnect) -> None:
    await run(connection, "INSERT INTO notes (body) VALUES (NULL)")


async def _exceed_a_time_limit(_connection: DBConnect) -> None:
    async with asyncio.timeout(0):
        await asyncio.Event().wait()


async def _fail_at_the_commit(connection: DBConnect) -> None:
    await run(connection, FAILING_COMMIT)


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        (_raise, LookupError),
        (_violate_a_constraint, IntegrityError),
        (_exceed_a_time_limit, TimeoutError),
        (_fail_at_the_commit, IntegrityError),
    ],
)
async def test_a_unit_that_failed_leaves_nothing_to_the_caller_who_goes_on(
    connection: DBConnect,
    other: DBConnect,
    database: Database,
    fail: Callable[[DBConnect], Awaitable[None]],
    error: type[Exception],
) -> None:
    @retried(Retry())
    async def function() -> None:
        await write(connection, "half of a unit")
        await write(other, "half of a unit")
        await fail(connection)

    async with db_context():
        with pytest.raises(error) as raised:
            await function()
        assert not hasattr(raised.value, "__notes__")
        assert (in_use(connection), in_use(other)) == (0, 0)
        await write(connection, "by the caller")
    assert await database.notes() == ["by the caller"]


class _RaisedStatus(Exception):  # noqa: N818 - as aiohttp's HTTPFound
    def __init__(self, status: int) -> None:
        self.status = status


class _RaisedResponse(Exception):  # noqa: N818 - as what abort(response) of Quart raises
    def __init__(self, status: int) -> None:
        self.response = SimpleNamespace(status_code=status)


@pytest.mark.parametrize("response", [_RaisedStatus, _RaisedResponse])
@pytest.mark.parametrize(("status", "kept"), [(302, ["written"]), (409, [])])
async def test_a_raised_response_is_its_status(
    connection: DBConnect, database: Database, response: Callable[[int], Exception], status: int, kept: list[str]
) -> None:
    @retried(Retry())
    async def function() -> None:
        await write(connection, "written")
        raise response(status)

    async with db_context():
        with pytest.raises((_RaisedStatus, _RaisedResponse)):
            await function()
    assert await database.notes() == kept


async def test_a_unit_that_a_time_limit_around_it_has_cancelled_leaves_nothing(
    connection: DBConnect, database: Database
) -> None:
    @retried(Retry())
    async def function(limit: asyncio.Timeout) -> None:
        await write(connection, "half of a unit")
        limit.reschedule(0)
        await asyncio.Event().wait()

    async with db_context():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                await function(limit)
        assert in_use(connection) == 0
    assert await database.notes() == []


async def test_a_transaction_that_was_open_before_is_left_to_its_owner(
    connection: DBConnect, database: Database
) -> None:
    @retried(Retry())
    async def function() -> None:
        raise AssertionError("must not run")

    async with db_context():
        await write(connection, "before")
        with pytest.raises(InvalidRequestError):
            await function()
    assert await database.notes() == ["before"]


@pytest.mark.parametrize(("in_a_savepoint", "kept"), [(False, ["inner", "outer"]), (True, ["outer"])])
async def test_what_a_part_leaves_that_failed_is_decided_by_the_function_around_it(
    connection: DBConnect, database: Database, in_a_savepoint: bool, kept: list[str]
) -> None:
    @retried(Retry())
    async def inner() -> None:
        await write(connection, "inner")
        raise LookupError

    @retried(Retry())
    async def outer() -> None:
        await write(connection, "outer")
        savepoint: AbstractAsyncContextManager[object] = nullcontext()
        if in_a_savepoint:
            savepoint = (await db_session(connection)).begin_nested()
        with pytest.raises(LookupError):
            async with savepoint:
                await inner()

    async with db_context():
        await outer()
    assert await database.notes() == kept


async def test_a_unit_that_fails_after_its_context_has_ended_leaves_the_commit_alone(
    connection: DBConnect, database: Database
) -> None:
    @retried(Retry())
    async def function() -> None:
        await go_on.wait()
        raise LookupError

    async def request() -> None:
        async with db_context():
            left_over.append(asyncio.create_task(function()))
            await asyncio.sleep(0)
            await run(connection, SLOW_COMMIT_STATEMENT)

    go_on = asyncio.Event()
    left_over: list[asyncio.Task[None]] = []
    async with database.gate_shut():
        task = asyncio.create_task(request())
        await database.wait_for_statement("COMMIT")
        go_on.set()
        await asyncio.wait(left_over)
    await task
    assert isinstance(left_over[0].exception(), LookupError)
    assert await database.notes("slow_notes") == ["slow"]


async def test_a_unit_whose_coroutine_is_closed_ends_there(connection: DBConnect) -> None:
    @retried(Retry())
    async def function() -> None:
        await (await db_session(connection)).begin()
        await asyncio.Event().wait()

    async with db_context():
        coroutine = function()
        coroutine.send(None)
        coroutine.close()
