"""Rule 2: the status of the response decides between commit and rollback."""

import pytest

from context_async_sqlalchemy import set_rollback
from tests.conformance.driver import Exchange, Reply
from tests.conformance.service import Service
from tests.conformance.statements import write


@pytest.mark.parametrize("status", [200, 201, 302, 399])
async def test_a_status_below_400_commits(service: Service, status: int) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "kept")
        return Reply(status)

    async with service.running(handler) as client:
        assert (await client.get())[0] == status
    assert await service.database.notes() == ["kept"]


@pytest.mark.parametrize("status", [400, 404, 422, 500, 503])
async def test_a_status_of_400_and_above_rolls_back(service: Service, status: int) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "discarded")
        return Reply(status)

    async with service.running(handler) as client:
        assert (await client.get())[0] == status
    assert await service.database.notes() == []


@pytest.mark.parametrize(("status", "kept"), [(302, ["written"]), (201, ["written"]), (404, []), (409, [])])
async def test_a_raised_answer_counts_by_its_status(service: Service, status: int, kept: list[str]) -> None:
    async def handler(exchange: Exchange) -> Reply:
        await write(service.connection, "written")
        raise exchange.answer_by_raising(status)

    async with service.running(handler) as client:
        assert (await client.get())[0] == status
    assert await service.database.notes() == kept


async def test_an_exception_rolls_back(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "discarded")
        raise ZeroDivisionError

    async with service.running(handler) as client:
        assert (await client.get())[0] == 500
    assert await service.database.notes() == []


async def test_set_rollback_rolls_back_a_success(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "discarded")
        set_rollback()
        return Reply(200, "a dry run")

    async with service.running(handler) as client:
        assert await client.get() == (200, "a dry run")
    assert await service.database.notes() == []


async def test_set_rollback_can_be_taken_back(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "kept")
        set_rollback()
        set_rollback(False)
        return Reply()

    async with service.running(handler) as client:
        await client.get()
    assert await service.database.notes() == ["kept"]


@pytest.mark.parametrize(("status", "kept"), [(200, []), (409, ["written"])])
async def test_commit_on_replaces_the_rule(service: Service, status: int, kept: list[str]) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "written")
        return Reply(status)

    def only_conflicts(status: int) -> bool:
        return status == 409

    async with service.running(handler, commit_on=only_conflicts) as client:
        assert (await client.get())[0] == status
    assert await service.database.notes() == kept


@pytest.mark.parametrize("answer", ["returned", "raised", "streamed"])
async def test_a_rule_that_raises_is_a_500_and_a_rollback(service: Service, answer: str) -> None:
    def rule(status: int) -> bool:
        raise KeyError(status)

    async def handler(exchange: Exchange) -> Reply | None:
        await write(service.connection, "discarded")
        if answer == "raised":
            raise exchange.answer_by_raising(302)
        if answer == "streamed":
            await exchange.stream()
            return None
        return Reply()

    async with service.running(handler, commit_on=rule) as client:
        assert (await client.get())[0] == 500
    assert await service.database.notes() == []


async def test_a_mapper_inside_decides_by_its_status_too(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "discarded")
        raise ZeroDivisionError

    async with service.running(handler, map_errors="inside") as client:
        assert await client.get() == (409, "ZeroDivisionError")
    assert await service.database.notes() == []


async def test_a_mapper_outside_sees_the_exception_after_the_rollback(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "discarded")
        raise ZeroDivisionError

    async with service.running(handler, map_errors="outside") as client:
        assert await client.get() == (409, "ZeroDivisionError")
    assert await service.database.notes() == []
