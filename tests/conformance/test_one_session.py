"""Rule 1: within a context, every coroutine gets the same session."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect, db_session
from tests.conformance.driver import Exchange, Reply
from tests.conformance.service import Service
from tests.conformance.statements import write
from tests.support.connections import in_use


async def test_two_functions_of_a_request_share_a_session_and_its_transaction(service: Service) -> None:
    seen: list[AsyncSession] = []

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "first")
        seen.append(await db_session(service.connection))
        await write(service.connection, "second")
        seen.append(await db_session(service.connection))
        assert in_use(service.connection) == 1
        return Reply()

    async with service.running(handler) as client:
        assert await client.get() == (200, "")
    assert seen[0] is seen[1]
    assert await service.database.notes() == ["first", "second"]


async def test_requests_do_not_share_sessions_also_on_one_connection(service: Service) -> None:
    seen: list[AsyncSession] = []

    async def handler(_exchange: Exchange) -> Reply:
        seen.append(await db_session(service.connection))
        return Reply()

    async with service.running(handler) as client:
        for _ in range(3):
            await client.get()
    assert len(set(map(id, seen))) == 3


async def test_tasks_that_race_for_the_first_use_get_one_session_though_making_it_awaits(service: Service) -> None:
    async def look_whether_the_host_is_alive(_connection: DBConnect) -> None:
        await asyncio.sleep(0)

    connection = DBConnect.from_url(service.database.url, before_create_session_handler=look_whether_the_host_is_alive)
    seen: list[AsyncSession] = []

    async def handler(_exchange: Exchange) -> Reply:
        seen.extend(await asyncio.gather(*(db_session(connection) for _ in range(5))))
        await seen[0].execute(text("SELECT 1"))
        assert in_use(connection) == 1
        return Reply()

    async with service.running(handler, connections=[connection]) as client:
        assert (await client.get())[0] == 200
    assert len(seen) == 5
    assert len(set(map(id, seen))) == 1


async def test_a_child_task_may_be_the_first_user_and_end_before_its_request(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await asyncio.create_task(write(service.connection, "by the child"))
        await asyncio.sleep(0)
        assert in_use(service.connection) == 1
        await write(service.connection, "by the handler")
        assert await service.database.notes() == []
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 200
    assert await service.database.notes() == ["by the child", "by the handler"]


async def test_a_first_user_that_is_cancelled_does_not_take_the_session_from_the_second(service: Service) -> None:
    asked = asyncio.Event()
    answer = asyncio.Event()

    async def slow_look(_connection: DBConnect) -> None:
        asked.set()
        await answer.wait()

    connection = DBConnect.from_url(service.database.url, before_create_session_handler=slow_look)

    async def handler(_exchange: Exchange) -> Reply:
        first = asyncio.create_task(db_session(connection))
        second = asyncio.create_task(db_session(connection))
        await asked.wait()
        first.cancel()
        answer.set()
        await asyncio.wait((first,))
        await (await second).execute(text("INSERT INTO notes (body) VALUES ('from the second')"))
        return Reply()

    async with service.running(handler, connections=[connection]) as client:
        assert (await client.get())[0] == 200
    assert await service.database.notes() == ["from the second"]


async def test_a_sub_application_that_is_set_up_too_shares_the_context_of_its_parent(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "from the sub-application")
        return Reply()

    async with service.running(handler, mounted=True) as client:
        assert await client.get() == (200, "")
    assert await service.database.notes() == ["from the sub-application"]


async def test_the_rule_of_the_parent_decides_for_a_sub_application_too(service: Service) -> None:
    def never(_status: int) -> bool:
        return False

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "discarded")
        return Reply()

    async with service.running(handler, mounted=True, commit_on=never) as client:
        assert await client.get() == (200, "")
    assert await service.database.notes() == []
