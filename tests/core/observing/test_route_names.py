"""The names of routes that observers and the log get: limited in number and in length, and printable."""

import logging
from typing import Any

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from context_async_sqlalchemy import DBConnect, db_session, run_in_new_ctx
from context_async_sqlalchemy.adapter_kit import Context, Lifecycle, finish, leave_context, make_current
from context_async_sqlalchemy.observer import NO_ROUTE, OTHER_ROUTE, UNMATCHED_ROUTE
from tests.conformance.statements import run
from tests.core.observing.engines import SELECT
from tests.support.connections import connect_to
from tests.support.database import Database
from tests.support.recorder import Recorder
from tests.support.waiting import until

HOSTILE = "\x1b[31m\r\n\u2028/{é}"
ESCAPED = r"\x1b[31m\r\n\u2028/{é}"


async def _routes_of(connection: DBConnect, names: list[str], **options: Any) -> list[str]:
    """Run a request for each name that an adapter gives its route; return the routes that an observer got."""
    recorder = Recorder()
    lifecycle = Lifecycle([connection], observers=[recorder], route_of=str, **options)
    for name in names:
        context = Context(lifecycle, None, name)
        token = make_current(context)
        await (await db_session(connection)).execute(SELECT)
        await finish(context, commit=True)
        leave_context(token)
    return [checkout.route for checkout in recorder.checkouts]


async def test_after_max_routes_the_rest_count_as_other_and_that_is_said_once(
    connection: DBConnect, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"GET /{number}" for number in range(5)]
    with caplog.at_level(logging.WARNING, "context_async_sqlalchemy"):
        seen = await _routes_of(connection, [*names, UNMATCHED_ROUTE, NO_ROUTE, *names], max_routes=3)
    expected = [*names[:3], OTHER_ROUTE, OTHER_ROUTE]
    assert seen == [*expected, UNMATCHED_ROUTE, NO_ROUTE, *expected]
    (warning,) = caplog.messages
    assert "max_routes=3" in warning
    assert "'GET /3'" in warning


async def test_a_name_is_printable_and_of_limited_length(
    connection: DBConnect, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "context_async_sqlalchemy"):
        seen = await _routes_of(connection, [f"GET /{HOSTILE}", f"GET /{'x' * 65_536}", "GET /ok"])
    assert seen == [f"GET /{ESCAPED}", OTHER_ROUTE, "GET /ok"]
    (warning,) = caplog.messages
    assert len(warning) < 1_000


async def test_no_line_of_the_log_is_broken_by_the_name_of_a_route_or_of_a_pool(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    connection = connect_to(database.url, name=f"pool {HOSTILE}", pool_size=1, pool_timeout=0.2)
    lifecycle = Lifecycle([connection], observers=[recorder], route_of=str, leak_threshold=0.05)
    context = Context(lifecycle, None, f"GET /{HOSTILE}")
    token = make_current(context)
    with caplog.at_level(logging.WARNING, "context_async_sqlalchemy"):
        await run(connection, "SELECT 1")
        with pytest.raises(PoolTimeoutError) as exhausted:
            await run_in_new_ctx(run, connection, "SELECT 1")
        await until(lambda: bool(recorder.suspected), "a leak is suspected")
        await finish(context, commit=True)
    leave_context(token)
    await lifecycle.shut_down()
    # One waits for a second connection, one holds one for too long, and one came back after all.
    assert len(caplog.messages) == 3
    for message in [*caplog.messages, *exhausted.value.__notes__]:
        assert message.isprintable()
        assert f"pool 'pool {ESCAPED}'" in message.replace("\\\\", "\\")
        assert f"GET /{ESCAPED}" in message


@pytest.mark.parametrize("max_routes", [0, -1])
def test_a_limit_that_is_not_positive_is_refused(max_routes: int) -> None:
    with pytest.raises(ValueError, match=f"max_routes must be positive: got {max_routes}"):
        Lifecycle([], max_routes=max_routes)


@pytest.mark.parametrize("max_routes", [True, 1.5, None])
def test_a_limit_that_is_no_number_is_refused(max_routes: Any) -> None:
    with pytest.raises(TypeError, match="max_routes is a whole number"):
        Lifecycle([], max_routes=max_routes)
