"""A timer of each event loop: it runs while there is something to look at, and starts anew after a failure."""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

import pytest

from context_async_sqlalchemy._runtime.loop_timer import LoopTimer
from tests.support.waiting import turns, until

Loop = asyncio.AbstractEventLoop


class _Looks:
    """Answers each look by the next of the given delays."""

    def __init__(self, *delays: float | None) -> None:
        self.loops: list[Loop] = []
        self.times: list[float] = []
        self._delays = list(delays)

    def __call__(self, loop: Loop) -> float | None:
        self.loops.append(loop)
        self.times.append(monotonic())
        return self._delays.pop(0)

    def __len__(self) -> int:
        return len(self.loops)

    def happened(self, count: int) -> Callable[[], bool]:
        return lambda: len(self) == count


async def test_it_looks_after_the_delays_that_are_asked_for_and_rests_then() -> None:
    looks = _Looks(0.02, 0.01, None)
    timer = LoopTimer(looks)
    began_at = monotonic()
    timer.start(0.03)
    await until(looks.happened(3), "three looks")
    delays = [after - before for before, after in zip([began_at, *looks.times], looks.times, strict=False)]
    # The loop's clock may call back up to its resolution early.
    resolution = 0.001
    assert [delay > asked - resolution for delay, asked in zip(delays, (0.03, 0.02, 0.01), strict=True)] == [True] * 3
    assert timer.loops == set()
    assert looks.loops == [asyncio.get_running_loop()] * 3


async def test_it_starts_once_while_it_runs_and_again_after_a_rest() -> None:
    looks = _Looks(None, None)
    timer = LoopTimer(looks)
    timer.start(0)
    timer.start(0)
    assert timer.loops == {asyncio.get_running_loop()}
    await until(looks.happened(1), "it looks")
    await turns()
    assert len(looks) == 1
    timer.start(0)
    await until(looks.happened(2), "it looks again")


async def test_a_look_that_fails_is_logged_and_the_next_start_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    looked = 0

    def look(_loop: Loop) -> None:
        nonlocal looked
        looked += 1
        raise ZeroDivisionError

    timer = LoopTimer(look)
    for times in (1, 2):
        timer.start(0)
        await until(lambda times=times: looked == times, "it looks")  # type: ignore[misc]
        assert timer.loops == set()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info and record.exc_info[0] for record in errors] == [ZeroDivisionError] * 2


def test_an_interruption_of_a_look_ends_the_loop_and_the_next_start_begins_anew() -> None:
    looked = 0

    def look(_loop: Loop) -> None:
        nonlocal looked
        looked += 1
        raise KeyboardInterrupt

    timer = LoopTimer(look)

    async def run() -> None:
        timer.start(0)
        await until(lambda: False, "nothing: it is interrupted")

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(run())
        assert timer.loops == set()
    assert looked == 2


def test_each_event_loop_has_its_timer_and_a_closed_one_is_let_go() -> None:
    looks = _Looks(None)
    timer = LoopTimer(looks)

    async def start(delay: float, done: Callable[[], bool]) -> Loop:
        timer.start(delay)
        await until(done, "it has looked")
        return asyncio.get_running_loop()

    closed = asyncio.run(start(60, lambda: True))
    assert timer.loops == {closed}
    with asyncio.Runner() as idle:
        other = idle.run(start(60, lambda: True))
        assert timer.loops == {other}
        third = asyncio.run(start(0, looks.happened(1)))
        assert looks.loops == [third]
        assert timer.loops == {other}


def test_it_needs_a_running_event_loop() -> None:
    timer = LoopTimer(lambda _loop: None)
    with pytest.raises(RuntimeError, match="no running event loop"):
        timer.start(0)
    assert timer.loops == set()
