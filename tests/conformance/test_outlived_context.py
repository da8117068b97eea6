"""Rule 6: a context that has ended says so."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from context_async_sqlalchemy import ContextClosedError, commit_db_session, db_context, db_session, run_in_new_ctx
from tests.conformance.driver import Exchange, Reply
from tests.conformance.service import Service
from tests.conformance.statements import write
from tests.support.connections import in_use


class Base(DeclarativeBase):
    """The declarative base."""


class Note(Base):
    """A row, as an object."""

    __tablename__ = "notes"

    body: Mapped[str] = mapped_column(primary_key=True)


async def _after_the_request(service: Service, work: Callable[[AsyncSession], Awaitable[None]]) -> None:
    """Run work in a task of a handler, after its request has ended."""
    request_has_ended = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def outlive(session: AsyncSession) -> None:
        await request_has_ended.wait()
        await work(session)

    async def handler(_exchange: Exchange) -> Reply:
        session = await db_session(service.connection)
        await write(service.connection, "by the request")
        tasks.append(asyncio.create_task(outlive(session)))
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 200
        await service.every_context_has_ended()
        request_has_ended.set()
        await asyncio.gather(*tasks)
        assert in_use(service.connection) == 0


async def test_a_task_that_outlives_its_request_is_told_the_remedy(service: Service) -> None:
    async def work(_session: AsyncSession) -> None:
        with pytest.raises(ContextClosedError, match="run_in_new_ctx"):
            await db_session(service.connection)
        with pytest.raises(ContextClosedError):
            await commit_db_session(service.connection)

    await _after_the_request(service, work)


async def test_a_task_that_outlives_a_request_without_the_database_is_told_too(service: Service) -> None:
    request_has_ended = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def outlive() -> None:
        await request_has_ended.wait()
        with pytest.raises(ContextClosedError, match="run_in_new_ctx"):
            await db_session(service.connection)
        await run_in_new_ctx(write, service.connection, "by the job")

    async def handler(_exchange: Exchange) -> Reply:
        tasks.append(asyncio.create_task(outlive()))
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 200
        await service.every_context_has_ended()
        request_has_ended.set()
        await asyncio.gather(*tasks)
    assert await service.database.notes() == ["by the job"]


async def test_a_session_obtained_earlier_is_refused_too_and_takes_no_connection(service: Service) -> None:
    async def work(session: AsyncSession) -> None:
        with pytest.raises(ContextClosedError, match="run_in_new_ctx"):
            await session.execute(text("SELECT 1"))
        with pytest.raises(ContextClosedError):
            await session.scalar(text("SELECT 1"))
        with pytest.raises(ContextClosedError):
            await session.connection()

    await _after_the_request(service, work)


async def test_a_session_obtained_earlier_does_not_pretend_to_commit(service: Service) -> None:
    async def work(session: AsyncSession) -> None:
        with pytest.raises(ContextClosedError, match="run_in_new_ctx"):
            await session.commit()
        with pytest.raises(ContextClosedError):
            await session.begin()
        with pytest.raises(ContextClosedError):
            await session.begin_nested()
        # To give up is right in any state.
        await session.rollback()
        await session.close()

    await _after_the_request(service, work)


async def test_an_object_that_outlives_its_request_is_detached(service: Service) -> None:
    kept: list[tuple[AsyncSession, Note]] = []

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "kept by the application")
        session = await db_session(service.connection)
        kept.append((session, await session.get_one(Note, "kept by the application")))
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 200
    session, note = kept.pop()
    assert inspect(note).detached
    assert note not in session
    assert note.body == "kept by the application"


async def test_a_task_with_a_context_of_its_own_may_outlive_its_request(service: Service) -> None:
    async def work(_session: AsyncSession) -> None:
        await run_in_new_ctx(write, service.connection, "by the job")

    await _after_the_request(service, work)
    assert await service.database.notes() == ["by the job", "by the request"]


async def test_branches_of_a_gather_have_contexts_of_their_own(service: Service) -> None:
    async def branch(number: int) -> None:
        await write(service.connection, f"branch {number}")
        if number == 1:
            raise ZeroDivisionError

    async def handler(_exchange: Exchange) -> Reply:
        outcomes = await asyncio.gather(
            *(run_in_new_ctx(branch, number) for number in range(3)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), ZeroDivisionError, type(None)]
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 200
    assert await service.database.notes() == ["branch 0", "branch 2"]


async def test_a_websocket_uses_a_context_per_message_and_holds_nothing_between(service: Service) -> None:
    async def handler(exchange: Exchange) -> None:
        websocket = await exchange.websocket()
        while (message := await websocket.receive()) is not None:
            try:
                async with db_context():
                    await write(service.connection, message)
                    if message == "bad":
                        raise ZeroDivisionError
            except ZeroDivisionError:
                await websocket.send("failed")
            else:
                await websocket.send("saved")

    async with service.running(handler) as client, client.websocket() as websocket:
        for message, answer in (("first", "saved"), ("bad", "failed"), ("second", "saved")):
            await websocket.send_str(message)
            assert await websocket.receive_str() == answer
            assert in_use(service.connection) == 0
    assert await service.database.notes() == ["first", "second"]


async def test_what_a_websocket_handler_writes_outside_of_a_block_is_committed(service: Service) -> None:
    async def handler(exchange: Exchange) -> None:
        await write(service.connection, "before the handshake, or as soon as possible")
        websocket = await exchange.websocket()
        await websocket.send("accepted")
        await websocket.receive()

    async with service.running(handler) as client:
        async with client.websocket() as websocket:
            assert await websocket.receive_str() == "accepted"
            if service.driver.handler_accepts_websockets:
                assert len(await service.database.notes()) == 1
                assert in_use(service.connection) == 0
            await websocket.send_str("go on")
            await websocket.receive()
        await service.nothing_is_held()
        assert len(await service.database.notes()) == 1
