"""Cancelled in the course of its work, once and again: no connection is lost, and the next user finds a clean one."""

import asyncio
from collections.abc import Iterable, Sequence

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from context_async_sqlalchemy import CommitTimeoutError, DBConnect, db_context, db_session
from context_async_sqlalchemy.adapter_kit import Lifecycle, finish_by_status, leave_context, open_context
from tests.conformance.statements import run, write
from tests.support.connections import connect_to, in_use
from tests.support.database import FAILING_COMMIT, SLOW_COMMIT_STATEMENT, Database
from tests.support.frozen import behind_proxy
from tests.support.waiting import turns


async def _work(connection: DBConnect) -> None:
    async with db_context():
        await write(connection, "written")
        session = await db_session(connection)
        await session.execute(text("SELECT 1"))


async def _write_twice(connection: DBConnect, name: str) -> None:
    """Write two rows in one unit of work: half a unit would show."""
    async with db_context():
        await write(connection, f"{name} first")
        await write(connection, f"{name} second")


@pytest.mark.parametrize("again_after", [None, 0, 1, 3])
async def test_cancelled_in_any_turn_of_the_loop(database: Database, again_after: int | None) -> None:
    connection = connect_to(database.url, pool_size=1)
    await _work(connection)
    turn = untouched = 0
    succeeded, cancelled = set[str](), set[str]()
    # Further and further apart, until the work has ended before it is cancelled.
    while untouched < 3:
        name = f"cancelled in turn {turn}"
        task = asyncio.create_task(_write_twice(connection, name))
        await turns(turn)
        untouched += task.done()
        task.cancel()
        if again_after is not None:
            await turns(again_after)
            task.cancel()
        await asyncio.wait((task,))
        (cancelled if task.cancelled() else succeeded).add(name)
        assert in_use(connection) == 0, f"a connection is out after a cancellation in turn {turn}"
        # With a pool of one, this is the connection that the cancelled one had, or a new one.
        name = f"after turn {turn}"
        await _write_twice(connection, name)
        succeeded.add(name)
        turn += 1 + turn // 20
    assert turn > 5
    assert len(cancelled) > 5
    assert await database.backends("state LIKE 'idle in transaction%'") == 0
    notes = set(await database.notes())
    for name in succeeded | cancelled:
        rows = notes & {f"{name} first", f"{name} second"}
        assert len(rows) == 2 or (not rows and name in cancelled), f"{name}: {rows}"
    await connection.close()


async def test_a_cancelled_anyio_scope_does_not_spin(database: Database) -> None:
    cancellations: list[int] = []
    async with behind_proxy(database.url, pool_size=1) as (connection, proxy):
        with anyio.CancelScope() as scope:
            try:
                async with db_context():
                    await write(connection, "discarded")
                    proxy.freeze()
                    asyncio.get_running_loop().call_later(0.1, proxy.thaw)
                    scope.cancel()
                    await anyio.sleep_forever()
            finally:
                task = asyncio.current_task()
                assert task is not None
                cancellations.append(task.cancelling())
        assert in_use(connection) == 0
    # anyio cancels a task in each turn of the loop in which the task does not wait within a shield.
    assert cancellations[0] < 10


async def test_a_context_that_ends_in_a_cancelled_anyio_scope_keeps_its_physical_connection(database: Database) -> None:
    connection = connect_to(database.url, pool_size=1)
    with anyio.CancelScope() as scope:
        async with db_context():
            await write(connection, "discarded")
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert in_use(connection) == 0
    assert await database.backends("state = 'idle'") == 1
    await _work(connection)
    assert await database.notes() == ["written"]
    await connection.close()


FAILS_SLOWLY = (SLOW_COMMIT_STATEMENT, FAILING_COMMIT)


async def _commit(connections: Sequence[DBConnect], statements: Iterable[str], *, finish_timeout: float = 10) -> None:
    context, token = open_context(Lifecycle(finish_timeout=finish_timeout))
    try:
        for connection in connections:
            await db_session(connection)
        for statement in statements:
            await run(connections[0], statement)
        await finish_by_status(context, 200)
    finally:
        leave_context(token)


@pytest.mark.parametrize("count", [1, 2], ids=["one session", "two sessions"])
@pytest.mark.parametrize(
    ("statements", "finish_timeout", "cause"),
    [
        ((SLOW_COMMIT_STATEMENT,), 10, None),
        (FAILS_SLOWLY, 10, IntegrityError),
        ((SLOW_COMMIT_STATEMENT,), 0.2, CommitTimeoutError),
    ],
    ids=["succeeds", "fails", "is not answered"],
)
async def test_the_cancellation_says_what_became_of_the_commit(
    database: Database,
    count: int,
    statements: Iterable[str],
    finish_timeout: float,
    cause: type[Exception] | None,
) -> None:
    connections = [connect_to(database.url, pool_size=1) for _ in range(count)]
    async with database.gate_shut():
        task = asyncio.create_task(_commit(connections, statements, finish_timeout=finish_timeout))
        await database.wait_for_statement("COMMIT")
        task.cancel()
        if cause is CommitTimeoutError:
            await asyncio.wait((task,))
    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    assert type(raised.value.__cause__) is (type(None) if cause is None else cause)
    assert [in_use(connection) for connection in connections] == [0] * count
    await database.wait_for_backends("state = 'idle'", count=0 if cause is CommitTimeoutError else 1)
    assert await database.notes("slow_notes") == (["slow"] if cause is None else [])
    for connection in connections:
        await connection.close()


@pytest.mark.parametrize("count", [1, 2], ids=["one session", "two sessions"])
async def test_a_commit_that_fails_leaves_a_clean_connection(database: Database, count: int) -> None:
    connections = [connect_to(database.url, pool_size=1) for _ in range(count)]
    with pytest.raises(IntegrityError):
        await _commit(connections, [FAILING_COMMIT])
    assert [in_use(connection) for connection in connections] == [0] * count
    assert await database.backends("state = 'idle'") == 1
    await _work(connections[0])
    assert await database.notes() == ["written"]
    for connection in connections:
        await connection.close()


async def test_a_cancellation_in_the_turn_in_which_the_commit_is_handed_over_prevents_it(database: Database) -> None:
    connection = connect_to(database.url, pool_size=1)

    async def cancel_in_this_turn(_session: object) -> None:
        caller = asyncio.current_task()
        assert caller is not None
        # Comes after the caller has handed the COMMIT over, and before the task of the COMMIT begins.
        asyncio.get_running_loop().call_soon(caller.cancel)

    async def work() -> None:
        context, token = open_context(Lifecycle(before_commit=cancel_in_this_turn))
        try:
            await write(connection, "discarded")
            await finish_by_status(context, 200)
        finally:
            leave_context(token)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(work())
    assert await database.notes() == []
    assert in_use(connection) == 0
    await connection.close()
