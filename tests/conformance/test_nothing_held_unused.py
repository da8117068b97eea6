"""Rule 4: nothing is held that is not used."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text

from context_async_sqlalchemy import (
    DBConnect,
    atomic_db_session,
    close_db_session,
    commit_db_session,
    db_session,
    rollback_db_session,
)
from tests.conformance.driver import Exchange, Reply
from tests.conformance.service import Service
from tests.conformance.statements import write
from tests.support.connections import in_use


async def test_a_session_takes_no_connection_before_its_first_statement(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        session = await db_session(service.connection)
        assert in_use(service.connection) == 0
        await session.execute(text("SELECT 1"))
        assert in_use(service.connection) == 1
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 200


async def test_a_request_without_the_database_makes_no_engine(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 200
        assert service.connection.engine is None


@pytest.mark.parametrize(
    ("release", "kept"),
    [
        (commit_db_session, ["early", "late"]),
        (rollback_db_session, ["late"]),
        (close_db_session, ["late"]),
    ],
)
async def test_an_early_end_gives_the_connection_back_and_the_session_goes_on(
    service: Service, release: Callable[[DBConnect], Awaitable[None]], kept: list[str]
) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        session = await db_session(service.connection)
        await write(service.connection, "early")
        await release(service.connection)
        assert in_use(service.connection) == 0
        assert await db_session(service.connection) is session
        await write(service.connection, "late")
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 200
    assert await service.database.notes() == kept


async def test_an_early_commit_stays_though_the_request_fails_later(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "early")
        await commit_db_session(service.connection)
        await write(service.connection, "late")
        return Reply(500)

    async with service.running(handler) as client:
        assert (await client.get())[0] == 500
    assert await service.database.notes() == ["early"]


async def test_an_atomic_block_is_a_transaction_of_its_own(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "before")
        async with atomic_db_session(service.connection):
            await write(service.connection, "inside")
        assert in_use(service.connection) == 0
        assert await service.database.notes() == ["before", "inside"]
        with pytest.raises(ZeroDivisionError):
            async with atomic_db_session(service.connection):
                await write(service.connection, "discarded")
                raise ZeroDivisionError
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 200
    assert await service.database.notes() == ["before", "inside"]
