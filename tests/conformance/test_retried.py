"""Retried functions on each framework: run again before the response has begun, and never after."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect, Retry, commit_db_session, db_context, retried
from tests.conformance.driver import Exchange, Reply
from tests.conformance.service import Service
from tests.conformance.statements import run, write
from tests.support.database import CONFLICT
from tests.support.recorder import Recorder


class Function:
    """Writes a row; its first runs meet a conflict after that.

    Args:
        connection: where.
        conflicts: how many.

    """

    def __init__(self, connection: DBConnect, conflicts: int = 1) -> None:
        self._connection = connection
        self._conflicts = conflicts
        self.runs = 0

    @retried(Retry(base_delay=0))
    async def __call__(self) -> None:
        self.runs += 1
        await write(self._connection, f"run {self.runs}")
        if self.runs <= self._conflicts:
            await run(self._connection, CONFLICT)


async def test_a_function_is_run_again_and_committed_when_it_returns(service: Service) -> None:
    recorder = Recorder()
    function = Function(service.connection, conflicts=2)

    async def handler(_exchange: Exchange) -> Reply:
        await function()
        return Reply(body=",".join(await service.database.notes()))

    async with service.running(handler, observers=[recorder]) as client:
        assert await client.get() == (200, "run 3")
    assert [(each.attempt, each.sqlstate) for each in recorder.retries] == [(1, "40001"), (2, "40001")]
    assert {each.route for each in recorder.retries} == {each.route for each in recorder.checkouts}
    assert {each.pool.name for each in recorder.retries if each.pool is not None} == {"main"}


async def test_after_the_last_attempt_the_client_gets_a_500(service: Service) -> None:
    function = Function(service.connection, conflicts=9)

    async def handler(_exchange: Exchange) -> Reply:
        await function()
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 500
    assert function.runs == 3
    assert await service.database.notes() == []


async def test_a_function_that_failed_leaves_nothing_to_a_handler_that_answers_200(service: Service) -> None:
    @retried(Retry())
    async def function() -> None:
        await write(service.connection, "half of a unit")
        raise LookupError

    async def handler(_exchange: Exchange) -> Reply:
        with pytest.raises(LookupError):
            await function()
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 200
    assert await service.database.notes() == []


async def test_after_an_early_commit_a_function_is_not_run_again(service: Service) -> None:
    function = Function(service.connection)

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "committed")
        await commit_db_session(service.connection)
        await function()
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 500
    assert function.runs == 1
    assert await service.database.notes() == ["committed"]


async def test_a_response_that_has_begun_is_not_begun_again(service: Service) -> None:
    function = Function(service.connection)
    notes: list[str] = []

    async def handler(exchange: Exchange) -> None:
        stream = await exchange.stream()
        await stream.write(b"part")
        try:
            await function()
        except Exception as error:
            notes.extend(error.__notes__)
            raise

    async with service.running(handler) as client:
        async with client.raw() as raw:
            raw.send()
            await raw.reader.readuntil(b"part")
            await service.nothing_is_held()
        assert function.runs == 1
    assert "the response has begun" in notes[-1]
    assert await service.database.notes() == []


async def test_on_a_websocket_each_message_is_retried_in_a_context_of_its_own(service: Service) -> None:
    outside, inside = Function(service.connection), Function(service.connection)
    failed = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        websocket = await exchange.websocket()
        try:
            await outside()
        except Exception:  # noqa: BLE001 - whatever it is, the function must not be run again
            failed.set()
        while await websocket.receive() is not None:
            async with db_context():
                await inside()
            await websocket.send("written")

    async with service.running(handler) as client, client.websocket() as websocket:
        await websocket.send_str("message")
        assert await websocket.receive_str() == "written"
    assert failed.is_set()
    assert (outside.runs, inside.runs) == (1, 2)
    assert await service.database.notes() == ["run 2"]


@pytest.mark.parametrize(("status", "kept"), [(201, ["written"]), (409, [])])
async def test_the_status_of_a_retried_handler_decides(service: Service, status: int, kept: list[str]) -> None:
    @retried(Retry())
    async def answer() -> Reply:
        await write(service.connection, "written")
        return Reply(status)

    async def handler(_exchange: Exchange) -> Reply:
        reply = await answer()
        assert await service.database.notes() == kept
        return reply

    async with service.running(handler) as client:
        assert (await client.get())[0] == status
    assert await service.database.notes() == kept


@pytest.mark.parametrize(("status", "kept"), [(302, ["written"]), (409, [])])
async def test_the_status_of_a_raised_answer_decides(service: Service, status: int, kept: list[str]) -> None:
    async def handler(exchange: Exchange) -> None:
        @retried(Retry())
        async def answer() -> None:
            await write(service.connection, "written")
            raise exchange.answer_by_raising(status)

        await answer()

    async with service.running(handler) as client:
        assert (await client.get())[0] == status
    assert await service.database.notes() == kept


async def test_headers_whose_commit_was_refused_have_not_left(service: Service) -> None:
    refused: list[AsyncSession] = []
    runs: list[None] = []

    async def refuse_once(session: AsyncSession) -> None:
        if not refused:
            refused.append(session)
            await session.execute(text(CONFLICT))

    async def handler(exchange: Exchange) -> None:
        @retried(Retry(base_delay=0))
        async def answer() -> None:
            runs.append(None)
            await write(service.connection, f"run {len(runs)}")
            stream = await exchange.stream()
            await stream.write(b"whole")

        await answer()

    async with service.running(handler, before_commit=refuse_once) as client:
        status, body = await client.get()
    # Where a request cannot be answered by a second stream, that is an error, and nothing is kept.
    if not service.driver.may_answer_again:
        assert status == 500
        assert await service.database.notes() == []
    else:
        assert (status, body) == (200, "whole")
        assert await service.database.notes() == ["run 2"]
