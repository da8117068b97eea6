"""All calls of a context's session run in kept greenlets."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import greenlet  # type: ignore[import-untyped] # it has no types
import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from context_async_sqlalchemy import db_context, db_session
from tests.conformance.statements import run
from tests.support.connections import connect_to
from tests.support.database import Database
from tests.support.waiting import until_async


class Base(DeclarativeBase):
    """The base of the mapped class."""


class Note(Base):
    """A row of the table of the tests."""

    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]


async def _one_note(session: AsyncSession) -> Note:
    return (await session.scalars(select(Note).order_by(Note.id).limit(1))).one()


async def _add(session: AsyncSession) -> None:
    session.add(Note(body="added"))
    await session.flush()


async def _within_a_savepoint(session: AsyncSession) -> None:
    async with session.begin_nested():
        await _add(session)
    savepoint = await session.begin_nested()
    await savepoint.rollback()


async def _transactions(session: AsyncSession) -> None:
    await session.rollback()
    async with session.begin():
        await session.execute(text("SELECT 1"))
    transaction = await session.begin()
    await transaction.commit()
    await _add(session)
    await session.commit()


async def _rows(session: AsyncSession) -> None:
    assert [note.body async for (note,) in await session.stream(select(Note))] == ["a", "b", "c"]
    result = await session.stream(text("SELECT body FROM notes ORDER BY id"))
    assert await result.fetchone() == ("a",)
    assert await result.fetchmany(1) == [("b",)]
    assert await result.all() == [("c",)]
    result = await session.stream(select(Note.body).order_by(Note.id))
    assert await result.first() == ("a",)
    for read in ("one", "one_or_none", "scalar_one", "scalar_one_or_none", "scalar", "fetchall", "freeze", "close"):
        await getattr(await session.stream(select(Note.body).limit(1)), read)()


async def _views(session: AsyncSession) -> None:
    assert [body async for body in await session.stream_scalars(select(Note.body).order_by(Note.id))] == ["a", "b", "c"]
    partitions = (await session.stream(select(Note.body))).mappings().partitions(2)
    assert [len(rows) async for rows in partitions] == [2, 1]
    for read in ("all", "first", "fetchmany", "close"):
        await getattr((await session.stream(select(Note.body))).scalars(), read)()
        await getattr((await session.stream(select(Note.body))).mappings(), read)()


async def _refresh(session: AsyncSession) -> None:
    await session.refresh(await _one_note(session))


async def _merge(session: AsyncSession) -> None:
    note = await session.merge(Note(id=(await _one_note(session)).id, body="merged"))
    await session.delete(note)


CALLS: dict[str, Callable[[AsyncSession], Awaitable[object]]] = {
    "execute": lambda session: session.execute(select(Note)),
    "scalar": lambda session: session.scalar(select(Note.body)),
    "scalars": lambda session: session.scalars(select(Note.body)),
    "get": lambda session: session.get(Note, 1),
    "run_sync": lambda session: session.run_sync(lambda sync_session: sync_session.execute(select(Note))),
    "connection": lambda session: session.connection(),
    "flush": _add,
    "rollback": lambda session: session.rollback(),
    "commit": lambda session: session.commit(),
    "close": lambda session: session.close(),
    "reset": lambda session: session.reset(),
    "savepoints": _within_a_savepoint,
    "transactions": _transactions,
    "rows of a stream": _rows,
    "views of a stream": _views,
    "refresh": _refresh,
    "merge, delete": _merge,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_no_call_of_a_session_makes_a_greenlet_of_its_own(
    call: Callable[[AsyncSession], Awaitable[object]], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect_to(database.url)
    async with db_context():
        for body in "abc":
            await run(connection, f"INSERT INTO notes (body) VALUES ('{body}')")
        await (await db_session(connection)).commit()

        def spawn(function: Callable[..., object], *_args: object, **_kwargs: object) -> NoReturn:
            pytest.fail(f"SQLAlchemy makes a greenlet for {function!r}")

        for module in ("session", "result"):
            monkeypatch.setattr(f"sqlalchemy.ext.asyncio.{module}.greenlet_spawn", spawn)
        # The greenlet of the calls above is idle.
        await call(await db_session(connection))
    monkeypatch.undo()
    await connection.close()


async def test_one_greenlet_serves_the_calls_of_all_sessions_one_after_another(database: Database) -> None:
    connection = connect_to(database.url)
    seen: list[object] = []

    def see(_session: Session) -> None:
        seen.append(greenlet.getcurrent())

    for _ in range(3):
        async with db_context():
            session = await db_session(connection)
            await session.run_sync(see)
            await session.execute(text("SELECT 1"))
            event.listen(session.sync_session, "after_commit", see)
    assert len(seen) == 6
    assert len(set(seen)) == 1
    await connection.close()


async def test_sessions_at_the_same_time_have_each_their_own_rows(database: Database) -> None:
    connection = connect_to(database.url, pool_size=5)

    async def request(number: int) -> tuple[Any, Any]:
        async with db_context():
            session = await db_session(connection)
            # It gives the others their turn.
            await session.execute(text("SELECT pg_sleep(0.001)"))
            first = await session.scalar(text("SELECT CAST(:number AS int)"), {"number": number})
            result = await session.stream(text("SELECT CAST(:number AS int)"), {"number": number})
            return first, await result.scalar()

    assert await asyncio.gather(*map(request, range(40))) == [(number, number) for number in range(40)]
    await connection.close()


async def test_a_cancelled_statement_ends_and_the_next_ones_succeed(database: Database) -> None:
    connection = connect_to(database.url, pool_size=1)

    async def request() -> None:
        async with db_context():
            await run(connection, "SELECT pg_sleep(60)")

    for _ in range(3):
        task = asyncio.create_task(request())
        await until_async(lambda: _sleeps(database), "the statement runs")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with db_context():
            assert await (await db_session(connection)).scalar(text("SELECT 1")) == 1
    await connection.close()


async def _sleeps(database: Database) -> bool:
    engine = create_async_engine(database.url)
    async with engine.connect() as looking:
        count = await looking.scalar(
            text("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'")
        )
    await engine.dispose()
    return bool(count)


async def test_an_exception_of_a_statement_is_raised_where_it_was_awaited(database: Database) -> None:
    connection = connect_to(database.url)
    async with db_context():
        session = await db_session(connection)
        for _ in range(2):
            with pytest.raises(IntegrityError, match="notes"):
                await session.execute(text("INSERT INTO notes (body) VALUES (NULL)"))
            await session.rollback()
        assert await session.scalar(text("SELECT 1")) == 1
    await connection.close()


async def test_the_session_looks_like_sqlalchemys(database: Database) -> None:
    connection = connect_to(database.url)
    async with db_context():
        session = await db_session(connection)
        assert isinstance(session, AsyncSession)
        assert inspect.iscoroutinefunction(session.execute)
        assert inspect.signature(session.execute) == inspect.signature(AsyncSession().execute)
        assert type(session).get.__doc__ == AsyncSession.get.__doc__
    await connection.close()
