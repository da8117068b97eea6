"""Rule 7: several connections commit in the order of their first use, and a partial failure is told."""

import logging
from collections.abc import AsyncGenerator

import pytest

from context_async_sqlalchemy import DBConnect, PartialCommitError, commit_all_sessions
from tests.conformance.driver import Exchange, Reply
from tests.conformance.service import Service
from tests.conformance.statements import run, write
from tests.support.connections import connect_to
from tests.support.database import FAILING_COMMIT, Database


@pytest.fixture
async def other(database: Database) -> AsyncGenerator[DBConnect]:
    """Give a case a second connection."""
    other = connect_to(database.url, name="other")
    yield other
    await other.close()


@pytest.fixture
async def third(database: Database) -> AsyncGenerator[DBConnect]:
    """Give a case a third connection."""
    third = connect_to(database.url, name="third")
    yield third
    await third.close()


async def test_each_connection_has_its_session_and_all_are_committed(service: Service, other: DBConnect) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "main")
        await write(other, "other")
        return Reply()

    async with service.running(handler, connections=[service.connection, other]) as client:
        assert (await client.get())[0] == 200
    assert await service.database.notes() == ["main", "other"]


async def test_all_are_rolled_back_together(service: Service, other: DBConnect) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "main")
        await write(other, "other")
        return Reply(409)

    async with service.running(handler, connections=[service.connection, other]) as client:
        assert (await client.get())[0] == 409
    assert await service.database.notes() == []


async def test_when_the_first_fails_nothing_is_committed(service: Service, other: DBConnect) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await run(service.connection, FAILING_COMMIT)
        await write(other, "other")
        return Reply()

    async with service.running(handler, connections=[service.connection, other], map_errors="outside") as client:
        assert await client.get() == (409, "IntegrityError")
    assert await service.database.notes() == []


async def test_a_partial_failure_names_what_was_committed_and_what_was_rolled_back(
    service: Service, other: DBConnect, third: DBConnect, caplog: pytest.LogCaptureFixture
) -> None:
    caught: list[PartialCommitError] = []

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "main")
        await run(other, FAILING_COMMIT)
        await write(third, "third")
        try:
            await commit_all_sessions()
        except PartialCommitError as error:
            caught.append(error)
            raise
        return Reply()

    with caplog.at_level(logging.CRITICAL, "aiohttp"):
        async with service.running(handler, connections=[service.connection, other, third]) as client:
            assert (await client.get())[0] == 500
    (error,) = caught
    assert (error.committed, error.failed, error.rolled_back) == (("main",), "other", ("third",))
    assert "'other' failed after 'main' had been committed" in str(error)
    assert await service.database.notes() == ["main"]
