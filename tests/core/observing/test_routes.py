"""Which route a context has."""

import pytest
from sqlalchemy import text

from context_async_sqlalchemy import (
    close_all_sessions,
    new_non_ctx_session,
    run_in_new_ctx,
)
from context_async_sqlalchemy.adapter_kit import (
    Context,
    Lifecycle,
    leave_context,
    open_context,
    route_name,
)
from context_async_sqlalchemy.observer import NO_ROUTE, UNMATCHED_ROUTE
from tests.conformance.statements import run
from tests.support.connections import connect_to
from tests.support.database import Database
from tests.support.recorder import Recorder


async def test_a_job_has_no_route_and_a_request_has_its_own(database: Database, recorder: Recorder) -> None:
    connection = connect_to(database.url)
    lifecycle = Lifecycle([connection], observers=[recorder], route_of=lambda request: f"GET /{request}")

    async def nested() -> None:
        await run(connection, "SELECT 1")

    await run_in_new_ctx(nested)
    context, token = open_context(lifecycle)
    context.owner = "orders"
    try:
        await run(connection, "SELECT 1")
        await run_in_new_ctx(nested)
        async with new_non_ctx_session(connection) as session:
            await session.execute(text("SELECT 1"))
    finally:
        await _end(context)
        leave_context(token)
    assert [checkout.route for checkout in recorder.checkouts] == [NO_ROUTE, *["GET /orders"] * 3]
    assert [checkout.context is recorder.contexts[-1] for checkout in recorder.checkouts] == [False, False, True, True]
    async with new_non_ctx_session(connection) as session:
        await session.execute(text("SELECT 1"))
    assert recorder.checkouts[-1].context is None
    assert recorder.checkouts[-1].route == NO_ROUTE
    await lifecycle.shut_down()


async def _end(context: Context) -> None:
    await close_all_sessions()
    context.end()


async def test_a_route_that_is_known_late_is_asked_again(database: Database, recorder: Recorder) -> None:
    connection = connect_to(database.url)
    answers = [UNMATCHED_ROUTE, "GET /late", "never asked for"]
    lifecycle = Lifecycle([connection], observers=[recorder], route_of=lambda _request: answers.pop(0))
    context, token = open_context(lifecycle)
    context.owner = object()
    try:
        await run(connection, "SELECT 1")
        (record,) = recorder.begun
        assert record.route == UNMATCHED_ROUTE
        assert record.route == "GET /late"
    finally:
        await _end(context)
        leave_context(token)
    assert record.route == "GET /late"
    await lifecycle.shut_down()


async def test_a_route_that_cannot_be_found_out_is_unmatched(
    database: Database, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect_to(database.url)
    lifecycle = Lifecycle([connection], observers=[recorder], route_of=lambda request: str(1 // request))
    context, token = open_context(lifecycle)
    context.owner = False
    try:
        await run(connection, "SELECT 1")
    finally:
        await _end(context)
        leave_context(token)
    assert recorder.checkouts[0].route == UNMATCHED_ROUTE
    assert "ZeroDivisionError" in caplog.text
    await lifecycle.shut_down()


async def test_a_log_of_a_route_that_cannot_be_found_out_has_nothing_of_the_request_and_comes_once(
    database: Database, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    def route_of(request: object) -> str:
        raise ValueError(request)

    connection = connect_to(database.url)
    lifecycle = Lifecycle([connection], observers=[recorder], route_of=route_of)
    context, token = open_context(lifecycle)
    context.owner = {"type": "http", "headers": [(b"authorization", b"Bearer secret")]}
    try:
        await run(connection, "SELECT 1")
        assert [record.route for record in recorder.begun * 3] == [UNMATCHED_ROUTE] * 3
    finally:
        await _end(context)
        leave_context(token)
    assert "secret" not in caplog.text
    (line,) = [record.getMessage() for record in caplog.records if "route" in record.getMessage()]
    assert "raise ValueError(request)" in line, "the line that has raised is named"
    await lifecycle.shut_down()


@pytest.mark.parametrize(
    ("method", "template", "name"),
    [
        ("POST", "/orders/{id}", "POST /orders/{id}"),
        ("BREW", "/pot", "_OTHER /pot"),
        ("GET", None, UNMATCHED_ROUTE),
        ("GET", "", UNMATCHED_ROUTE),
    ],
)
def test_names_of_routes(method: str, template: str | None, name: str) -> None:
    assert route_name(method, template) == name
