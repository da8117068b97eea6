"""Transactional tests: whatever an application does through a connection is rolled back after the block."""

import asyncio

import pytest
from sqlalchemy import text

from context_async_sqlalchemy import (
    commit_db_session,
    db_session,
    new_non_ctx_atomic_session,
    run_in_new_ctx,
)
from context_async_sqlalchemy.test_utils import rolled_back
from tests.conformance.driver import Exchange, Reply
from tests.conformance.service import Service
from tests.conformance.statements import run, write


async def test_requests_see_each_others_commits_and_nobody_else_does(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "by a request")
        session = await db_session(service.connection)
        return Reply(body=str(await session.scalar(text("SELECT count(*) FROM notes"))))

    async with service.running(handler) as client:
        async with rolled_back(service.connection) as session:
            assert await client.get() == (200, "1")
            assert await client.get() == (200, "2")
            assert await session.scalar(text("SELECT count(*) FROM notes")) == 2
            assert await service.database.notes() == []
            await session.rollback()
        assert await service.database.notes() == []
        assert await client.get() == (200, "1")
    assert await service.database.notes() == ["by a request"]


async def test_a_request_that_rolls_back_undoes_its_own_work_only(service: Service) -> None:
    statuses = [200, 422, 200]

    async def handler(_exchange: Exchange) -> Reply:
        status = statuses.pop(0)
        await write(service.connection, f"answered {status}")
        return Reply(status)

    async with service.running(handler) as client, rolled_back(service.connection) as session:
        for status in (200, 422, 200):
            assert (await client.get())[0] == status
        rows = (await session.scalars(text("SELECT body FROM notes ORDER BY id"))).all()
        assert rows == ["answered 200", "answered 200"]


async def test_parallel_requests_take_turns(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "first")
        await asyncio.sleep(0.01)
        await write(service.connection, "second")
        return Reply()

    async with service.running(handler) as client, rolled_back(service.connection) as session:
        answers = await asyncio.gather(*(client.get() for _ in range(8)))
        assert {status for status, _ in answers} == {200}
        rows = (await session.scalars(text("SELECT body FROM notes ORDER BY id"))).all()
        assert rows == ["first", "second"] * 8


async def test_what_the_test_has_flushed_is_seen_by_the_request_and_the_other_way_round(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "by the request")
        session = await db_session(service.connection)
        return Reply(body=str(await session.scalar(text("SELECT count(*) FROM notes"))))

    async with service.running(handler) as client, rolled_back(service.connection) as session:
        await session.execute(text("INSERT INTO notes (body) VALUES ('by the test')"))
        assert await client.get() == (200, "2")
        assert await session.scalar(text("SELECT count(*) FROM notes")) == 2
        await session.commit()
        assert await client.get() == (200, "3")


async def test_contexts_within_a_request_nest_in_its_transaction(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "outer")
        await asyncio.gather(*(run_in_new_ctx(write, service.connection, "inner") for _ in range(3)))
        async with new_non_ctx_atomic_session(service.connection) as session:
            await session.execute(text("INSERT INTO notes (body) VALUES ('no context')"))
        await write(service.connection, "outer again")
        return Reply()

    async with service.running(handler) as client, rolled_back(service.connection) as session:
        assert (await client.get())[0] == 200
        rows = (await session.scalars(text("SELECT body FROM notes ORDER BY id"))).all()
        assert rows == ["outer", "inner", "inner", "inner", "no context", "outer again"]
    assert await service.database.notes() == []


async def test_a_request_that_released_early_does_not_block_another(service: Service) -> None:
    released = asyncio.Event()
    go_on = asyncio.Event()

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "written")
        if not released.is_set():
            await commit_db_session(service.connection)
            released.set()
            await go_on.wait()
        return Reply()

    async with service.running(handler) as client, rolled_back(service.connection):
        waits_for_payment = asyncio.create_task(client.get())
        await released.wait()
        assert (await client.get())[0] == 200
        go_on.set()
        assert (await waits_for_payment)[0] == 200


async def test_a_transaction_that_is_kept_open_is_named_as_the_reason(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "never")
        return Reply()

    async def keep_open() -> None:
        await run(service.connection, "SELECT 1")
        started.set()
        await go_on.wait()

    started, go_on = asyncio.Event(), asyncio.Event()
    async with (
        service.running(handler, map_errors="outside") as client,
        rolled_back(service.connection, turn_timeout=0.05),
    ):
        keeper = asyncio.create_task(run_in_new_ctx(keep_open))
        await started.wait()
        assert await client.get() == (409, "TimeoutError")
        go_on.set()
        await keeper


async def test_an_exception_in_the_block_rolls_back_too(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "by the request")
        return Reply()

    async with service.running(handler) as client:
        with pytest.raises(ZeroDivisionError):
            async with rolled_back(service.connection):
                await client.get()
                raise ZeroDivisionError
    assert await service.database.notes() == []
