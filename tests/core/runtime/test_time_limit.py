"""Work that runs to its end, and stays too long: it is interrupted, and nothing else is."""

import asyncio
import contextlib

import pytest

from context_async_sqlalchemy._runtime.shield import Completion, Watch
from tests.support.waiting import turns


@pytest.mark.parametrize("in_task", [False, True])
async def test_work_that_stays_too_long_is_interrupted_and_the_others_are_not(in_task: bool) -> None:
    watch = Watch(0.2)
    interrupted: dict[str, bool] = {}

    async def stay(completion: Completion, name: str, seconds: float) -> None:
        watch.enter(completion)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(seconds)
        watch.leave(completion)
        interrupted[name] = completion.is_interrupted

    async def run(name: str, seconds: float) -> None:
        completion = Completion()
        work = stay(completion, name, seconds)
        await (completion.run_in_task(work) if in_task else completion.run(work))

    async with asyncio.TaskGroup() as group:
        group.create_task(run("short", 0.001))
        group.create_task(run("long", 10))
        await asyncio.sleep(0.1)
        group.create_task(run("long, later", 10))
        group.create_task(run("short, later", 0.05))
    assert interrupted == {"short": False, "long": True, "long, later": True, "short, later": False}


async def test_work_of_a_cancelled_caller_is_interrupted_too_when_it_stays_too_long() -> None:
    watch = Watch(0.03)
    completion = Completion()

    async def work() -> None:
        watch.enter(completion)
        try:
            await asyncio.sleep(10)
        finally:
            watch.leave(completion)

    async def run() -> None:
        await completion.run(work())

    caller = asyncio.create_task(run())
    await turns()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert completion.is_interrupted


async def test_work_that_was_interrupted_is_left_to_clean_up() -> None:
    watch = Watch(0.03)
    interruptions: list[str] = []

    async def work(completion: Completion, name: str) -> None:
        watch.enter(completion)
        for _ in range(2):
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                interruptions.append(name)
        watch.leave(completion)

    async with asyncio.TaskGroup() as group:
        for name in ("first", "second"):
            completion = Completion()
            group.create_task(completion.run_in_task(work(completion, name)))
            # The one that entered later has the watch look again.
            await asyncio.sleep(0.02)
    assert interruptions == ["first", "second"]
