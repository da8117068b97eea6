"""Rule 5: every context ends, exactly once, and its connections are back, however its request ends."""

import asyncio
import logging
import time

import anyio
import pytest
from sqlalchemy import make_url

from context_async_sqlalchemy import ContextClosedError, commit_db_session, db_session, rollback_db_session
from tests.conformance.driver import Exchange, Reply, Setup
from tests.conformance.service import Service, request_under
from tests.conformance.statements import run, write
from tests.support.connections import connect_to
from tests.support.database import SLOW_COMMIT_STATEMENT
from tests.support.proxy import Proxy
from tests.support.waiting import until

SLEEP = "SELECT pg_sleep(60)"


class Held:
    """A handler's task, once it has reached the place where the case interferes."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.task: asyncio.Task[object] | None = None

    def here(self) -> None:
        """Say that the handler has reached the place."""
        self.task = asyncio.current_task()
        self.reached.set()

    async def cancel_repeatedly(self) -> None:
        """Cancel the handler's task, again at each of some turns of the loop."""
        assert self.task is not None
        for _ in range(5):
            self.task.cancel()
            await asyncio.sleep(0)


async def test_a_client_that_hangs_up_during_a_statement(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "discarded")
        await run(service.connection, SLEEP)
        return Reply()

    async with service.running(handler) as client, client.raw() as raw:
        raw.send()
        await service.database.wait_for_statement("pg_sleep")
        raw.hang_up()
        if not service.driver.cancels_handlers:
            # The handler goes on. So its statement must fail some time.
            await service.database.terminate_backends()
        await service.nothing_is_held()
    assert await service.database.notes() == []


async def test_a_client_that_hangs_up_while_the_handler_does_something_else(service: Service) -> None:
    held, goes_on = Held(), asyncio.Event()

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "written")
        held.here()
        await goes_on.wait()
        return Reply()

    async with service.running(handler) as client, client.raw() as raw:
        raw.send()
        await held.reached.wait()
        raw.hang_up()
        if not service.driver.cancels_handlers:
            goes_on.set()
        await service.nothing_is_held()
    assert await service.database.notes() == ([] if service.driver.cancels_handlers else ["written"])


async def test_a_client_that_hangs_up_during_the_commit_does_not_interrupt_it(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await run(service.connection, SLOW_COMMIT_STATEMENT)
        return Reply()

    async with service.running(handler) as client, client.raw() as raw:
        async with service.database.gate_shut():
            raw.send()
            await service.database.wait_for_statement("COMMIT")
            raw.hang_up()
        await service.nothing_is_held()
        # An interrupted COMMIT would have cost the connection.
        assert await service.database.backends() == 1
    assert await service.database.notes("slow_notes") == ["slow"]


@pytest.mark.parametrize("first_user", ["handler", "child task"])
async def test_a_client_that_hangs_up_in_the_middle_of_a_stream(service: Service, first_user: str) -> None:
    held, goes_on = Held(), asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        stream = await exchange.stream()
        work = write(service.connection, "written")
        await (work if first_user == "handler" else asyncio.create_task(work))
        await stream.write(b"started")
        held.here()
        await goes_on.wait()

    async with service.running(handler) as client, client.raw() as raw:
        raw.send()
        await held.reached.wait()
        raw.hang_up()
        if not service.driver.cancels_handlers:
            goes_on.set()
        await service.nothing_is_held()
    assert await service.database.notes() == ([] if service.driver.cancels_handlers else ["written"])


@pytest.mark.parametrize("during", ["statement", "application code"])
async def test_a_handler_that_is_cancelled_repeatedly(service: Service, during: str) -> None:
    held = Held()

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "discarded")
        held.here()
        if during == "statement":
            await run(service.connection, SLEEP)
        await asyncio.Event().wait()
        return Reply()

    async with service.running(handler) as client, client.raw() as raw:
        raw.send()
        await held.reached.wait()
        if during == "statement":
            await service.database.wait_for_statement("pg_sleep")
        await held.cancel_repeatedly()
        await service.nothing_is_held()
    assert await service.database.notes() == []


async def test_a_commit_that_is_cancelled_repeatedly_runs_to_its_end(service: Service) -> None:
    held = Held()

    async def handler(_exchange: Exchange) -> Reply:
        held.here()
        await run(service.connection, SLOW_COMMIT_STATEMENT)
        return Reply()

    async with service.running(handler) as client, client.raw() as raw:
        async with service.database.gate_shut():
            raw.send()
            await service.database.wait_for_statement("COMMIT")
            await held.cancel_repeatedly()
        await service.nothing_is_held()
        assert await service.database.backends() == 1
    assert await service.database.notes("slow_notes") == ["slow"]


async def test_a_handler_goes_on_after_a_cancelled_anyio_scope(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        with anyio.CancelScope() as scope:
            await write(service.connection, "discarded")
            scope.cancel()
            await run(service.connection, "SELECT 1")
        return Reply(409)

    async with service.running(handler) as client:
        assert (await client.get())[0] == 409
    assert await service.database.notes() == []


async def test_a_child_task_still_executing_when_its_sibling_fails(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    children: list[asyncio.Task[None]] = []

    async def fails() -> None:
        await service.database.wait_for_statement("pg_sleep")
        raise ZeroDivisionError

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "discarded")
        children.append(asyncio.create_task(run(service.connection, SLEEP)))
        await asyncio.gather(fails(), *children)
        return Reply()

    with caplog.at_level(logging.ERROR, "context_async_sqlalchemy"):
        async with service.running(handler) as client:
            assert (await client.get())[0] == 500
            await asyncio.wait(children)
            assert isinstance(children[0].exception(), Exception)
    assert "its connection is invalidated" in caplog.text
    assert await service.database.notes() == []


@pytest.mark.parametrize("then", ["returns", "raises", "commits early", "rolls back early"])
async def test_the_next_request_does_not_get_a_connection_that_a_left_over_task_is_using(
    service: Service, then: str
) -> None:
    connection = connect_to(service.database.url, pool_size=1)
    children: list[asyncio.Task[None]] = []

    async def handler(_exchange: Exchange) -> Reply:
        if children:
            await write(connection, "by the next request")
            return Reply()
        await write(connection, "discarded")
        children.append(asyncio.create_task(run(connection, SLEEP)))
        await service.database.wait_for_statement("pg_sleep")
        if then == "raises":
            raise ZeroDivisionError
        if then == "commits early":
            await commit_db_session(connection)
        if then == "rolls back early":
            await rollback_db_session(connection)
        return Reply()

    async with service.running(handler, connections=[connection]) as client:
        assert (await client.get())[0] == (200 if then == "rolls back early" else 500)
        assert (await client.get())[0] == 200
        await asyncio.wait(children)
        assert children[0].exception() is not None
    assert await service.database.notes() == ["by the next request"]


async def test_a_child_task_that_waits_for_a_connection_when_the_context_ends(service: Service) -> None:
    children: list[asyncio.Task[None]] = []
    connection = connect_to(service.database.url, pool_size=1)

    async def handler(_exchange: Exchange) -> Reply:
        session = await db_session(connection)
        children.append(asyncio.create_task(run(connection, "SELECT 1")))
        await until(session.in_transaction, "the child has begun its transaction and waits for the pool")
        raise ZeroDivisionError

    await connection.session_maker()
    assert connection.engine is not None
    async with service.running(handler, connections=[connection]) as client:
        async with connection.engine.connect():
            assert (await client.get())[0] == 500
        await asyncio.wait(children)
        assert isinstance(children[0].exception(), ContextClosedError)


async def test_a_rollback_that_the_database_does_not_answer_is_bounded_and_costs_only_its_connection(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    url = make_url(service.database.url)
    async with Proxy(str(url.host), url.port or 5432) as proxy:
        connection = connect_to(url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False))

        async def handler(_exchange: Exchange) -> Reply:
            await run(connection, "SELECT 1")
            proxy.freeze()
            raise ZeroDivisionError

        with caplog.at_level(logging.ERROR, "context_async_sqlalchemy"):
            async with service.running(handler, connections=[connection], finish_timeout=0.1) as client:
                began = time.monotonic()
                assert (await client.get())[0] == 500
                await service.all_is_back([connection])
                # Below the ten seconds that a rollback may take by default.
                assert time.monotonic() - began < 9
                proxy.thaw()
    assert "did not answer within 0.1 s" in caplog.text


async def test_a_commit_that_the_database_does_not_answer_is_bounded_and_told(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await run(service.connection, SLOW_COMMIT_STATEMENT)
        return Reply()

    async with service.running(handler, finish_timeout=0.1, map_errors="outside") as client:
        async with service.database.gate_shut():
            assert await client.get() == (409, "CommitTimeoutError")
        await service.nothing_is_held()


async def test_a_database_that_restarts_fails_one_request_and_not_the_next(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await run(service.connection, "SELECT 1")
        return Reply()

    async with service.running(handler) as client:
        assert (await client.get())[0] == 200
        await service.database.terminate_backends()
        await service.database.wait_for_backends("true", count=0)
        assert (await client.get())[0] == 500
        assert (await client.get())[0] == 200


async def test_requests_in_flight_at_a_shutdown_are_cancelled_and_their_connections_closed(service: Service) -> None:
    if not service.driver.stops_while_requests_run:
        pytest.xfail("the server does not stop while a request is in flight")
    held = Held()

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "discarded")
        held.here()
        await asyncio.Event().wait()
        return Reply()

    async with service.driver.serving(Setup(handler, [service.connection], grace=0.05)) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_under(service.driver.prefix))
        await held.reached.wait()
    writer.transport.abort()
    assert service.driver.live_contexts() == 0
    assert service.connection.engine is None
    await service.database.wait_for_backends("true", count=0)
    assert await service.database.notes() == []


async def test_a_request_that_ends_within_the_grace_of_a_shutdown_commits(service: Service) -> None:
    held = Held()
    go_on = asyncio.Event()

    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "kept")
        held.here()
        await go_on.wait()
        return Reply(200)

    async with service.driver.serving(Setup(handler, [service.connection])) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_under(service.driver.prefix))
        await held.reached.wait()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
    assert (await reader.readline()).split()[1] == b"200"
    writer.close()
    assert await service.database.notes() == ["kept"]
    await service.database.wait_for_backends("true", count=0)
