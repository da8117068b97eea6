"""An idle kept greenlet refers to nothing of the calls that it has run, and nothing is heard of it."""

import asyncio
import gc
import textwrap
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar

import greenlet  # type: ignore[import-untyped] # it has no types
import pytest
from sqlalchemy.util import await_only

from context_async_sqlalchemy._runtime.greenlets import run_in_kept_greenlet
from tests.core.runtime.greenlets.programs import execute


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
    assert execute(_PRELUDE + textwrap.dedent(program)) == (0, "")
