"""A task that stays in a section for too long is cancelled, and no other task is."""

import asyncio

import pytest

from context_async_sqlalchemy._runtime.time_limit import TimeLimit


async def _stay(limit: TimeLimit, seconds: float) -> bool:
    task = asyncio.current_task()
    assert task is not None
    limit.enter(task)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        assert limit.leave(task)
        return True
    assert not limit.leave(task)
    return False


async def test_a_task_that_passes_the_limit_is_cancelled_and_the_others_are_not() -> None:
    limit = TimeLimit(0.2)
    short, long = asyncio.create_task(_stay(limit, 0.001)), asyncio.create_task(_stay(limit, 10))
    await asyncio.sleep(0.1)
    later, short_later = asyncio.create_task(_stay(limit, 10)), asyncio.create_task(_stay(limit, 0.001))
    assert [*await asyncio.gather(short, long, later, short_later)] == [False, True, True, False]


async def test_a_task_is_cancelled_once_and_may_clean_up() -> None:
    limit = TimeLimit(0.03)
    cancellations: list[str] = []

    async def work(name: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        limit.enter(task)
        for _ in range(2):
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                cancellations.append(name)
        assert limit.leave(task)

    async with asyncio.TaskGroup() as group:
        for name in ("first", "second"):
            group.create_task(work(name))
            # The task that entered later makes the timer look again.
            await asyncio.sleep(0.02)
    assert cancellations == ["first", "second"]


async def test_nothing_is_kept_of_a_task_that_has_left() -> None:
    limit = TimeLimit(0.2)
    assert not await _stay(limit, 0)
    await asyncio.sleep(0.3)
    assert await _stay(limit, 10)


async def test_many_tasks_that_hang_one_after_another_are_looked_at_a_hundred_times_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each look passes over all of them, so a look for each would cost the square of their number.
    now = 0.0
    monkeypatch.setattr("context_async_sqlalchemy._runtime.time_limit.monotonic", lambda: now)
    limit, loop = TimeLimit(10), asyncio.get_running_loop()
    tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(1000)]
    for number, task in enumerate(tasks):
        now = number * 0.01
        limit.enter(task)
    look = limit._look  # pyright: ignore[reportPrivateUsage]
    now, looks, delay = 10.0, 0, look(loop)
    while delay is not None:
        looks += 1
        now += delay
        delay = look(loop)
    assert looks <= 100
    assert now < 20.2
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(limit.leave(task) for task in tasks)
