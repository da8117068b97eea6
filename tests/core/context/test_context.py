"""The context and its published functions, for a middleware of one's own."""

import asyncio
import gc
from contextvars import ContextVar
from unittest.mock import AsyncMock

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from context_async_sqlalchemy import (
    ContextAlreadyInitiatedError,
    ContextClosedError,
    ContextNotInitiatedError,
    DBConnect,
    atomic_db_session,
    auto_commit_by_status_code,
    close_all_sessions,
    close_db_session,
    commit_all_sessions,
    commit_db_session,
    db_context,
    db_session,
    get_db_session_from_context,
    init_db_session_ctx,
    is_context_initiated,
    new_non_ctx_atomic_session,
    new_non_ctx_session,
    pop_db_session_from_context,
    put_db_session_to_context,
    reset_db_session_ctx,
    rollback_all_sessions,
    rollback_db_session,
    run_in_new_ctx,
    set_rollback,
)
from context_async_sqlalchemy.adapter_kit import Context, Lifecycle, find_contexts_by, finish
from tests.conformance.statements import write
from tests.support.connections import in_use
from tests.support.database import Database


async def test_outside_of_a_context_every_function_says_what_to_do(connection: DBConnect) -> None:
    for use in (db_session, commit_db_session, rollback_db_session, close_db_session):
        with pytest.raises(ContextNotInitiatedError, match=r"setup_db\(app, connections\).*run_in_new_ctx"):
            await use(connection)
    with pytest.raises(ContextNotInitiatedError):
        set_rollback()
    with pytest.raises(ContextNotInitiatedError):
        get_db_session_from_context(connection)
    assert pop_db_session_from_context(connection) is None
    assert not is_context_initiated()


async def test_a_framework_that_knows_the_current_request_gives_its_context(connection: DBConnect) -> None:
    known: ContextVar[Context | None] = ContextVar("known", default=None)
    find_contexts_by(known.get)
    assert not is_context_initiated()
    context = Context(Lifecycle())
    known.set(context)
    assert is_context_initiated()
    with pytest.raises(ContextAlreadyInitiatedError):
        init_db_session_ctx()
    session = await db_session(connection)
    assert get_db_session_from_context(connection) is session
    async with db_context():
        assert await db_session(connection) is not session
    assert await db_session(connection) is session
    assert pop_db_session_from_context(connection) is session
    await finish(context, commit=False)
    with pytest.raises(ContextClosedError):
        await db_session(connection)
    assert not is_context_initiated()


async def test_a_middleware_of_ones_own(connection: DBConnect, database: Database) -> None:
    for status, kept in ((200, ["200"]), (409, ["200"])):
        token = init_db_session_ctx()
        try:
            assert is_context_initiated()
            await write(connection, str(status))
            await auto_commit_by_status_code(status)
        finally:
            await reset_db_session_ctx(token)
        assert not is_context_initiated()
        assert await database.notes() == kept
    assert in_use(connection) == 0


async def test_a_second_context_must_be_forced(connection: DBConnect, database: Database) -> None:
    outer = init_db_session_ctx()
    outer_session = await db_session(connection)
    with pytest.raises(ContextAlreadyInitiatedError, match="db_context"):
        init_db_session_ctx()
    inner = init_db_session_ctx(force=True)
    assert await db_session(connection) is not outer_session
    await write(connection, "not committed")
    await reset_db_session_ctx(inner)
    assert await db_session(connection) is outer_session
    await reset_db_session_ctx(outer)
    assert await database.notes() == []


async def test_a_context_may_be_left_from_another_task(connection: DBConnect) -> None:
    token = init_db_session_ctx()
    await write(connection, "not committed")
    await asyncio.create_task(reset_db_session_ctx(token))
    assert in_use(connection) == 0
    assert not is_context_initiated()


async def test_all_sessions_can_be_committed_rolled_back_and_closed(connection: DBConnect, database: Database) -> None:
    seen: list[AsyncSession] = []

    async def before_commit(session: AsyncSession) -> None:
        seen.append(session)

    async with db_context():
        await write(connection, "kept")
        await commit_all_sessions(before_commit)
        assert seen == [await db_session(connection)]
        await write(connection, "discarded")
        await rollback_all_sessions()
        await write(connection, "discarded too")
        await close_all_sessions()
        assert in_use(connection) == 0
        await close_all_sessions()
    assert await database.notes() == ["kept"]


async def test_set_rollback_counts_for_commit_all_sessions_too(connection: DBConnect, database: Database) -> None:
    async with db_context():
        await write(connection, "discarded")
        set_rollback()
        await commit_all_sessions()
        await write(connection, "discarded too")
    assert await database.notes() == []


async def test_a_session_that_is_put_in_is_finished_and_one_that_is_popped_is_not(
    connection: DBConnect, database: Database
) -> None:
    put = await connection.create_session()
    async with db_context():
        put_db_session_to_context(connection, put)
        assert get_db_session_from_context(connection) is put
        await write(connection, "by the one put in")
    assert await database.notes() == ["by the one put in"]

    async with db_context():
        await write(connection, "by the popped one")
        popped = pop_db_session_from_context(connection)
    assert popped is not None
    assert in_use(connection) == 1
    await popped.rollback()
    assert await database.notes() == ["by the one put in"]


async def test_mocks_may_stand_in_for_sessions(connection: DBConnect) -> None:
    mock = AsyncMock(spec=AsyncSession)
    mock.in_transaction.return_value = True
    async with db_context():
        put_db_session_to_context(connection, mock)
        assert await db_session(connection) is mock
        await (await db_session(connection)).execute(text("SELECT 1"))
    mock.commit.assert_awaited_once()
    mock.close.assert_awaited_once()


async def test_an_exception_in_a_block_of_its_own_rolls_back(connection: DBConnect, database: Database) -> None:
    async def fails() -> None:
        await write(connection, "discarded")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_in_new_ctx(fails)
    assert await database.notes() == []
    assert in_use(connection) == 0


async def test_run_in_new_ctx_passes_arguments_and_the_result_on() -> None:
    async def function(number: int, *, factor: int) -> int:
        return number * factor

    assert await run_in_new_ctx(function, 3, factor=2) == 6


async def test_the_session_of_an_ended_context_is_refused(connection: DBConnect) -> None:
    async with db_context():
        session = await db_session(connection)
    with pytest.raises(ContextClosedError):
        await session.execute(text("SELECT 1"))
    with pytest.raises(ContextClosedError):
        async with session.begin():
            pass
    assert in_use(connection) == 0


async def test_the_applications_own_session_classes_are_kept(database: Database) -> None:
    class OwnSync(Session):
        def own(self) -> str:
            return "own sync"

    class Own(AsyncSession):
        sync_session_class = OwnSync

    connection = DBConnect.from_url(database.url)
    url_maker = await connection.session_maker()
    own = DBConnect(lambda _: url_maker.kw["bind"], lambda engine: async_sessionmaker(engine, class_=Own), "host")
    async with db_context():
        session = await db_session(own)
        assert isinstance(session, Own)
        assert isinstance(session.sync_session, OwnSync)
        assert session.sync_session.own() == "own sync"
        assert session.sync_session.expire_on_commit is True
    with pytest.raises(ContextClosedError):
        await session.scalar(text("SELECT 1"))
    await own.close()


@pytest.mark.parametrize(
    ("current_transaction", "kept"),
    [("commit", ["before", "inside"]), ("rollback", ["inside"]), ("append", ["before", "inside"])],
)
async def test_an_atomic_block_and_the_transaction_before_it(
    connection: DBConnect, database: Database, current_transaction: str, kept: list[str]
) -> None:
    async with db_context():
        await write(connection, "before")
        async with atomic_db_session(connection, current_transaction) as session:  # type: ignore[arg-type]
            assert session.in_transaction()
            await write(connection, "inside")
        assert in_use(connection) == 0
        set_rollback()
    assert await database.notes() == kept


async def test_an_atomic_block_can_insist_on_a_fresh_transaction(connection: DBConnect) -> None:
    async with db_context():
        async with atomic_db_session(connection, "raise"):
            await write(connection, "inside")
        await write(connection, "before")
        with pytest.raises(InvalidRequestError, match="open transaction already"):
            async with atomic_db_session(connection, "raise"):
                pass
        with pytest.raises(ValueError, match=r"'later' is unknown: use one of 'commit', 'rollback', 'append', 'raise'"):
            async with atomic_db_session(connection, "later"):  # type: ignore[arg-type]
                pass


async def test_sessions_outside_of_any_context(connection: DBConnect, database: Database) -> None:
    async with new_non_ctx_session(connection) as session:
        await session.execute(text("INSERT INTO notes (body) VALUES ('discarded')"))
    async with new_non_ctx_atomic_session(connection) as session:
        await session.execute(text("INSERT INTO notes (body) VALUES ('kept')"))
    assert await database.notes() == ["kept"]
    assert in_use(connection) == 0


def _live_contexts() -> int:
    gc.collect()
    return sum(isinstance(thing, Context) for thing in gc.get_objects())


async def test_tasks_that_start_each_other_from_their_contexts_do_not_chain_them(connection: DBConnect) -> None:
    before = _live_contexts()
    alive_at_the_end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    tasks: set[asyncio.Task[None]] = set()

    async def step(left: int) -> None:
        async with db_context():
            await db_session(connection)
            if left:
                task = asyncio.create_task(step(left - 1))
                tasks.add(task)
                # A task that has ended would keep its own Context, and with it one of ours.
                task.add_done_callback(tasks.discard)
            else:
                await asyncio.sleep(0)
                alive_at_the_end.set_result(_live_contexts() - before)

    await step(10)
    # The one that is open, and the ended one that it was opened from.
    assert await alive_at_the_end <= 2
