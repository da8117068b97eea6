"""What observers are told of requests: the route's template, whatever happens beside it."""

import asyncio
import contextlib
from typing import Any

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import commit_db_session, db_session, run_in_new_ctx
from tests.conformance.driver import Exchange, Handler, Reply
from tests.conformance.service import Service
from tests.conformance.statements import run, write
from tests.support.database import FAILING_COMMIT
from tests.support.recorder import Recorder
from tests.support.waiting import until


async def test_a_request_is_observed_by_its_route(service: Service) -> None:
    recorder = Recorder(keeps_history=True)

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "early")
        await commit_db_session(service.connection)
        await run_in_new_ctx(write, service.connection, "nested")
        await write(service.connection, "late")
        return Reply()

    async with service.running(handler, observers=[recorder]) as client:
        assert (await client.get())[0] == 200
    assert {checkout.route for checkout in recorder.checkouts} == {service.driver.route("/")}
    assert [checkout.is_early for checkout in recorder.checkouts] == [True, False, False]
    assert len(recorder.contexts) == 2
    assert recorder.contexts[1].checkouts == [recorder.checkouts[0], recorder.checkouts[2]]
    assert [context.outcome for context in recorder.contexts] == ["commit", "commit"]
    assert recorder.forgotten == recorder.pools


async def test_concurrent_requests_of_two_routes_are_told_apart(service: Service) -> None:
    recorder = Recorder()
    ready: set[str] = set()

    def handler_of(name: str, statements: int) -> Handler:
        async def handler(_exchange: Exchange) -> Reply:
            await write(service.connection, name)
            ready.add(name)
            # Both hold a connection now; from here they take turns.
            await until(lambda: len(ready) == 2, "the other request holds one, too")
            for _ in range(statements - 1):
                await run(service.connection, "SELECT 1")
            return Reply()

        return handler

    slow, quick = "/slow/{id}", "/quick"
    others = {slow: handler_of("slow", 5), quick: handler_of("quick", 2)}
    async with service.running(others[quick], others=others, observers=[recorder]) as client:
        for _ in range(3):
            ready.clear()
            await asyncio.gather(client.get("/slow/1"), client.get("/quick"))
    route = service.driver.route
    seen = sorted((checkout.route, checkout.statements) for checkout in recorder.checkouts)
    assert seen == sorted([(route(slow), 5), (route(quick), 2)] * 3)
    assert all(checkout.context in recorder.contexts for checkout in recorder.checkouts)


async def test_a_stream_gives_its_connection_back_by_its_headers(service: Service) -> None:
    recorder = Recorder()

    async def handler(exchange: Exchange) -> None:
        await write(service.connection, "before")
        stream = await exchange.stream()
        await stream.write(b"x")
        await asyncio.sleep(0.02)

    async with service.running(handler, observers=[recorder]) as client, client.streaming() as response:
        assert await response.read() == b"x"
    await until(lambda: len(recorder.contexts) == 1, "the context has ended")
    (checkout,) = recorder.checkouts
    assert (checkout.released_by, checkout.is_early) == ("headers", True)
    (early,) = recorder.early
    assert early.saved_seconds >= 0.02


@pytest.mark.parametrize("status", [200, 500])
async def test_the_outcome_of_a_request(service: Service, status: int) -> None:
    recorder = Recorder()

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "x")
        return Reply(status)

    async with service.running(handler, observers=[recorder]) as client:
        await client.get()
    expected = "commit" if status == 200 else "rollback"
    assert recorder.transactions == [expected]
    assert [context.outcome for context in recorder.contexts] == [expected]


async def test_a_session_of_the_applications_own_belongs_to_the_route(service: Service) -> None:
    recorder = Recorder()

    async def handler(_exchange: Exchange) -> Reply:
        session = await db_session(service.connection)
        await session.connection()
        assert service.connection.engine is not None
        async with service.connection.engine.connect() as connection:
            assert not connection.closed
        await run(service.connection, "SELECT 1")
        return Reply()

    async with service.running(handler, observers=[recorder]) as client:
        await client.get()
    assert [checkout.route for checkout in recorder.checkouts] == [service.driver.route("/")] * 2
    assert len(recorder.contexts) == 1
    assert len(recorder.checkouts) == 2


@pytest.mark.parametrize("fails", ["in the response's COMMIT", "in the hook", "at the headers", "after the headers"])
async def test_a_failing_commit_counts_as_failed(service: Service, fails: str) -> None:
    recorder = Recorder()

    async def refuse(_session: AsyncSession) -> None:
        raise ZeroDivisionError

    async def handler(exchange: Exchange) -> Reply | None:
        statement = "SELECT 1" if fails == "in the hook" else FAILING_COMMIT
        if fails != "after the headers":
            await run(service.connection, statement)
        if "headers" not in fails:
            return Reply()
        stream = await exchange.stream()
        await stream.write(b"x")
        await run(service.connection, statement)
        return None

    options: dict[str, Any] = {"before_commit": refuse} if fails == "in the hook" else {}
    async with service.running(handler, observers=[recorder], **options) as client:
        with contextlib.suppress(aiohttp.ClientError):
            await client.get()
    assert [context.outcome for context in recorder.contexts] == ["failed"]
    assert recorder.failed_contexts == recorder.contexts


async def test_the_rollback_after_an_exception_of_a_handler_is_no_early_release(service: Service) -> None:
    recorder = Recorder()

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "discarded")
        raise ZeroDivisionError

    async with service.running(handler, observers=[recorder]) as client:
        assert (await client.get())[0] == 500
    (checkout,) = recorder.checkouts
    assert (checkout.released_by, checkout.is_early) == ("end", False)
    assert await service.database.notes() == []
