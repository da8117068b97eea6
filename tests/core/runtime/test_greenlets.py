"""Kept greenlets: a call sees no difference to SQLAlchemy's own greenlet, and nothing of it is left behind."""

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any, NoReturn
from unittest.mock import patch

import greenlet  # type: ignore[import-untyped] # it has no types
import pytest
from sqlalchemy import event
from sqlalchemy.exc import AwaitRequired, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
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


@pytest.mark.parametrize("waits", [True, False])
async def test_it_keeps_neither_what_it_called_nor_the_contextvars(waits: bool) -> None:
    class Thing:
        def call(self) -> None:
            if waits:
                await_only(asyncio.sleep(0))

    current: ContextVar[Thing] = ContextVar("current")

    async def request() -> list[weakref.ref[Thing]]:
        called, kept = Thing(), Thing()
        current.set(kept)
        await run_in_kept_greenlet(called.call)
        return [weakref.ref(called), weakref.ref(kept)]

    references = await asyncio.create_task(request())
    # The loop itself is done with the task one turn later.
    await asyncio.sleep(0)
    gc.collect()
    assert [reference() for reference in references] == [None, None]


class _Thing:
    """Something that a weak reference can be made to."""


class _ThingError(Exception):
    """An error that a weak reference can be made to."""


async def _call_that_awaits_a_value() -> list[weakref.ref[object]]:
    async def make() -> _Thing:
        await asyncio.sleep(0)
        return _Thing()

    things: list[weakref.ref[object]] = []
    await run_in_kept_greenlet(lambda: things.append(weakref.ref(await_only(make()))))
    return things


async def _call_that_handles_an_error() -> list[weakref.ref[object]]:
    things: list[weakref.ref[object]] = []

    async def fail() -> None:
        things.append(weakref.ref(error := _ThingError()))
        raise error

    def call() -> None:
        with suppress(_ThingError):
            await_only(fail())

    await run_in_kept_greenlet(call)
    return things


async def _call_while_an_error_is_handled() -> list[weakref.ref[object]]:
    try:
        raise _ThingError
    except _ThingError as error:
        await run_in_kept_greenlet(lambda: await_only(asyncio.sleep(0)))
        return [weakref.ref(error)]


async def _call_with_a_result() -> list[weakref.ref[object]]:
    thing = _Thing()
    await run_in_kept_greenlet(lambda: thing)
    return [weakref.ref(thing)]


async def _call_with_arguments() -> list[weakref.ref[object]]:
    thing = _Thing()
    await run_in_kept_greenlet(lambda *_args, **_kwargs: await_only(asyncio.sleep(0)), thing, thing=thing)
    return [weakref.ref(thing)]


@pytest.mark.parametrize(
    "request_",
    [
        _call_with_arguments,
        _call_that_awaits_a_value,
        _call_that_handles_an_error,
        _call_while_an_error_is_handled,
        _call_with_a_result,
    ],
)
def test_it_keeps_nothing_of_what_happened_in_a_call(
    request_: Callable[[], Coroutine[None, None, list[weakref.ref[object]]]],
) -> None:
    kept: list[list[object]] = []

    async def requests() -> None:
        # The first call makes the greenlet, the second one uses it.
        for _ in range(2):
            things = await asyncio.create_task(request_())
            await asyncio.sleep(0)
            gc.collect()
            kept.append([thing() for thing in things])

    # A new thread has no greenlet yet.
    thread = threading.Thread(target=lambda: asyncio.run(requests()))
    thread.start()
    thread.join()
    assert kept == [[None], [None]]


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


async def test_a_call_in_a_greenlet_of_the_applications_own_leaves_nothing_of_it() -> None:
    await run_in_kept_greenlet(lambda: None)

    async def call() -> None:
        await run_in_kept_greenlet(lambda: None)

    def application() -> None:
        # As an application does that drives coroutines by greenlets: each call has another parent.
        coroutine = call()
        with pytest.raises(StopIteration):
            coroutine.send(None)

    its_own = greenlet.greenlet(application)
    its_own.switch()
    its_own_reference = weakref.ref(its_own)
    del its_own
    gc.collect()
    assert its_own_reference() is None


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


async def test_a_commit_that_a_test_replaces_on_sqlalchemys_class_is_called(database: Database) -> None:
    connection = connect_to(database.url)
    with (
        patch.object(AsyncSession, "commit", side_effect=OSError("the network")),
        pytest.raises(OSError, match="network"),
    ):
        async with db_context():
            await write(connection, "written")
    assert await database.notes() == []
    await connection.close()


_REPLACED_BEFORE = """
import asyncio
import functools
from sqlalchemy.ext.asyncio import AsyncSession

plain, commits = AsyncSession.commit, []

async def traced(session):
    commits.append(session)
    await plain(session)

class Proxy:
    __code__ = plain.__code__

    def __get__(self, session, _owner):
        return self if session is None else functools.partial(traced, session)

AsyncSession.commit = {replacement}

from context_async_sqlalchemy import DBConnect, db_context, db_session

async def main():
    connection = DBConnect.from_url("sqlite+aiosqlite://", name="main")
    async with db_context():
        await (await db_session(connection)).connection()
    await connection.close()

asyncio.run(main())
assert len(commits) == 1
"""


@pytest.mark.parametrize("replacement", ["traced", "Proxy()"])
def test_a_commit_that_something_replaced_before_the_library_was_imported_is_called(replacement: str) -> None:
    assert _execute(_REPLACED_BEFORE.format(replacement=replacement)) == (0, "")


async def test_a_commit_of_the_applications_own_class_is_called(database: Database) -> None:
    commits: list[str] = []

    class Own(AsyncSession):
        async def commit(self) -> None:
            commits.append("before")
            await super().commit()
            commits.append("after")

    connection = DBConnect(
        lambda _host: create_async_engine(database.url), lambda engine: async_sessionmaker(engine, class_=Own), "host"
    )
    async with db_context():
        await write(connection, "written")
    assert commits == ["before", "after"]
    assert await database.notes() == ["written"]
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


_PRELUDE = """
import asyncio, gc, os, threading, time
import greenlet
from sqlalchemy.util import await_only
from context_async_sqlalchemy._runtime.greenlets import run_in_kept_greenlet

def wait():
    await_only(asyncio.sleep(0.001))

async def one():
    await run_in_kept_greenlet(wait)

async def many(count):
    await asyncio.gather(*(one() for _ in range(count)))

def alive():
    gc.collect()
    return sum(isinstance(thing, greenlet.greenlet) for thing in gc.get_objects())

asyncio.run(many(3))
before = alive()
"""


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("", id="the process ends"),
        pytest.param("asyncio.run(many(100))\nassert alive() <= before + 61, alive()", id="more than are kept"),
        pytest.param(
            """
            for _ in range(3):
                thread = threading.Thread(target=lambda: asyncio.run(many(5)))
                thread.start()
                thread.join()
            asyncio.run(many(3))
            # greenlet frees the main greenlet of a thread by a pending call, which may come after the join.
            deadline = time.monotonic() + 10
            while alive() != before and time.monotonic() < deadline:
                time.sleep(0.01)
            assert alive() == before, (alive(), before)
            """,
            id="threads end",
        ),
        pytest.param(
            """
            served, never = threading.Event(), threading.Event()
            def serve():
                asyncio.run(many(5))
                served.set()
                never.wait()
            threading.Thread(target=serve, daemon=True).start()
            served.wait()
            """,
            id="the process ends before a thread",
        ),
        pytest.param(
            """
            runs_loop = greenlet.greenlet(lambda: asyncio.run(many(3)))
            runs_loop.switch()
            assert runs_loop.dead
            asyncio.run(many(3))
            """,
            id="the loop runs in a greenlet",
        ),
        pytest.param(
            """
            child = os.fork()
            asyncio.run(many(3))
            if child:
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            """,
            id="the process forks",
        ),
    ],
)
def test_nothing_is_heard_of_them_when(program: str) -> None:
    assert _execute(_PRELUDE + textwrap.dedent(program)) == (0, "")


def _execute(program: str) -> tuple[int, str]:
    """Run a program in an interpreter of its own; return its exit status, and what it says of errors and warnings."""
    result = subprocess.run(  # noqa: S603 - this interpreter, and a program of this file
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # On a busy machine asyncio's debug mode tells of callbacks that took more than 0.1 s.
    told = [line for line in result.stderr.splitlines(keepends=True) if not line.startswith("Executing <")]
    return result.returncode, "".join(told)
