"""A call in a kept greenlet sees no difference to SQLAlchemy's own greenlet."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, Token
from typing import Any, NoReturn

import greenlet  # type: ignore[import-untyped] # it has no types
import pytest
from sqlalchemy import event
from sqlalchemy.exc import AwaitRequired, IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only, greenlet_spawn

from context_async_sqlalchemy import DBConnect, db_context, db_session
from context_async_sqlalchemy._runtime.greenlets import run_in_kept_greenlet
from tests.conformance.statements import run, write
from tests.support.connections import connect_to
from tests.support.database import FAILING_COMMIT, Database

_who: ContextVar[str] = ContextVar("who")


async def _commit(connection: DBConnect, listen: Callable[[Session], object]) -> None:
    async with db_context():
        await run(connection, "SELECT 1")
        session = await db_session(connection)
        event.listen(session.sync_session, "after_commit", listen)
        await session.commit()


async def test_calls_at_the_same_time_have_each_their_own_and_their_own_contextvars() -> None:
    seen: dict[object, str] = {}
    everybody = asyncio.Barrier(5)

    def call() -> None:
        await_only(everybody.wait())
        seen[greenlet.getcurrent()] = _who.get()

    async def request(name: str) -> None:
        _who.set(name)
        await run_in_kept_greenlet(call)

    names = [f"request {number}" for number in range(5)]
    for _ in range(2):
        seen.clear()
        await asyncio.gather(*map(request, names))
        assert sorted(seen.values()) == names


async def test_what_a_listener_does_to_a_contextvar_holds_for_the_task(database: Database) -> None:
    connection = connect_to(database.url)
    _who.set("nobody")
    tokens: list[Token[str]] = []
    for _ in range(2):
        await _commit(connection, lambda _session: tokens.append(_who.set("the listener")))
        assert _who.get() == "the listener"
        _who.reset(tokens.pop())
        assert _who.get() == "nobody"
    token = _who.set("the task")
    await _commit(connection, lambda _session: _who.reset(token))
    assert _who.get() == "nobody"
    await connection.close()


def _frames_left() -> int:
    try:
        return 1 + _frames_left()
    except RecursionError:
        return 0


async def _deep_down(frames: int, function: Callable[[], Awaitable[object]]) -> None:
    if frames:
        await _deep_down(frames - 1, function)
    else:
        await function()


async def _five_at_once(run: Callable[[Callable[[], object]], Awaitable[object]]) -> list[int]:
    """Run five calls that wait for each other; return how many frames each had left."""
    left: list[int] = []
    everybody = asyncio.Barrier(5)

    def call() -> None:
        await_only(everybody.wait())
        left.append(_frames_left())

    await asyncio.gather(*(run(call) for _ in range(5)))
    return left


async def test_a_call_has_the_frames_that_its_caller_has_left_whoever_called_before() -> None:
    # The event loop of this test is itself called by pytest: compare with what SQLAlchemy's own greenlet has.
    expected = min(await _five_at_once(greenlet_spawn))
    await _five_at_once(lambda call: _deep_down(700, lambda: run_in_kept_greenlet(call)))
    assert min(await _five_at_once(run_in_kept_greenlet)) > expected - 110
    await _five_at_once(lambda call: _deep_down(700, lambda: run_in_kept_greenlet(call)))
    assert min(await _five_at_once(run_in_kept_greenlet)) > expected - 110


async def test_after_a_commit_that_failed_the_next_one_succeeds(database: Database) -> None:
    connection = connect_to(database.url, pool_size=1)
    for _ in range(2):
        with pytest.raises(IntegrityError):
            async with db_context():
                await run(connection, FAILING_COMMIT)
        async with db_context():
            await write(connection, "written")
    assert await database.notes() == ["written", "written"]
    await connection.close()


async def test_a_task_that_began_in_a_call_does_not_disturb_later_calls() -> None:
    async def work() -> None:
        await run_in_kept_greenlet(lambda: await_only(asyncio.sleep(0)))

    begun: list[Coroutine[Any, Any, None]] = []

    def call() -> None:
        # As an eager task begins.
        begun.append(work())
        begun[0].send(None)

    await run_in_kept_greenlet(call)
    with pytest.raises(StopIteration):
        begun[0].send(None)
    assert await run_in_kept_greenlet(lambda: await_only(asyncio.sleep(0, "result"))) == "result"


async def test_arguments_may_have_any_name() -> None:
    def call(*args: int, **kwargs: int) -> tuple[tuple[int, ...], dict[str, int]]:
        return args, kwargs

    assert await run_in_kept_greenlet(call, 1, 2, function=3, kept=4) == ((1, 2), {"function": 3, "kept": 4})


async def test_a_call_that_awaits_nothing_is_an_error_where_sqlalchemy_wants_it_to_be() -> None:
    with pytest.raises(AwaitRequired):
        await run_in_kept_greenlet(lambda: None, _require_await=True)


def _exit_at_once() -> NoReturn:
    raise greenlet.GreenletExit("at once")


def _exit_after_a_wait() -> NoReturn:
    await_only(asyncio.sleep(0))
    raise greenlet.GreenletExit("after a wait")


def _exit_in_a_wait() -> None:
    async def wait() -> NoReturn:
        await asyncio.sleep(0)
        raise greenlet.GreenletExit("in a wait")

    await_only(wait())


@pytest.mark.parametrize("call", [_exit_at_once, _exit_after_a_wait, _exit_in_a_wait])
async def test_a_greenlet_exit_of_a_call_is_its_result_as_in_sqlalchemy(call: Callable[[], object]) -> None:
    theirs = await greenlet_spawn(call)
    assert isinstance(theirs, greenlet.GreenletExit)
    for _ in range(2):
        assert repr(await run_in_kept_greenlet(call)) == repr(theirs)
        assert await run_in_kept_greenlet(lambda: await_only(asyncio.sleep(0, "result"))) == "result"


async def test_a_call_that_is_closed_while_it_waits_ends() -> None:
    ended: list[str] = []

    def wait() -> None:
        try:
            # No time passes: it is closed here.
            await_only(asyncio.sleep(60))
        finally:
            ended.append("ended")

    async def call() -> None:
        await run_in_kept_greenlet(wait)

    coroutine = call()
    coroutine.send(None)
    coroutine.close()
    assert ended == ["ended"]
