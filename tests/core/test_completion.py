"""Running to the end, however often the caller is cancelled."""

import asyncio

import anyio
import pytest

from context_async_sqlalchemy.completion import Watch, run_to_end


class Work:
    """Work that ends when it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.go_on = asyncio.Event()
        self.done = False

    async def run(self) -> str:
        """Wait, then end or fail."""
        await self.go_on.wait()
        self.done = True
        if self._error is not None:
            raise self._error
        return "result"


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_result_and_the_exception_are_passed_on() -> None:
    work, failing = Work(), Work(KeyError("why"))
    work.go_on.set()
    failing.go_on.set()
    assert await run_to_end(work.run()) == "result"
    with pytest.raises(KeyError, match="why"):
        await run_to_end(failing.run())


@pytest.mark.parametrize("cancellations", [1, 2, 7])
async def test_a_cancelled_caller_waits_for_the_end_and_is_cancelled_then(cancellations: int) -> None:
    work = Work()
    caller = asyncio.create_task(run_to_end(work.run()))
    await _settle()
    for _ in range(cancellations):
        caller.cancel()
        await _settle()
    assert not caller.done()
    work.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.done
    assert caller.cancelling() == cancellations


async def test_the_failure_of_work_whose_caller_was_cancelled_is_the_cause() -> None:
    work = Work(KeyError("why"))
    caller = asyncio.create_task(run_to_end(work.run()))
    await _settle()
    caller.cancel()
    await _settle()
    work.go_on.set()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await caller
    assert isinstance(cancelled.value.__cause__, KeyError)


async def test_a_timeout_around_it_still_works() -> None:
    work = Work()
    asyncio.get_running_loop().call_later(0.05, work.go_on.set)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await run_to_end(work.run())
    assert work.done


async def test_a_cancelled_anyio_scope_waits_without_spinning() -> None:
    work = Work()
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while not work.done:
            turns += 1
            await asyncio.sleep(0.005)

    counter = asyncio.create_task(count_turns())
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, work.go_on.set)
    wakeups = 0
    schedule = loop.call_soon

    with anyio.CancelScope() as scope:
        scope.cancel()
        loop.call_soon = lambda *args, **kwargs: _count(args, kwargs)  # type: ignore[method-assign]

        def _count(args: tuple[object, ...], kwargs: dict[str, object]) -> asyncio.Handle:
            nonlocal wakeups
            wakeups += 1
            return schedule(*args, **kwargs)  # type: ignore[arg-type]

        try:
            await run_to_end(work.run())
        finally:
            del loop.call_soon
    await counter
    assert work.done
    # Unshielded, the scope cancels again at every turn of the loop: thousands in these 50 ms.
    assert wakeups < 100


async def test_work_that_is_cancelled_itself_cancels_the_caller() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await run_to_end(cancelled())


async def test_work_that_is_cancelled_before_it_begins_cancels_the_caller() -> None:
    work = Work()
    coroutine = work.run()
    caller = asyncio.create_task(run_to_end(coroutine))
    before = asyncio.all_tasks()
    await asyncio.sleep(0)
    (inner,) = asyncio.all_tasks() - before
    inner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    coroutine.close()


async def test_a_task_that_stays_too_long_is_cancelled_and_the_others_are_not() -> None:
    watch = Watch(0.05)
    outcomes: list[bool] = []

    async def stay(seconds: float) -> None:
        task = watch.enter()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            outcomes.append(watch.leave(task))
        else:
            outcomes.append(watch.leave(task))

    async with asyncio.TaskGroup() as group:
        group.create_task(stay(0.001))
        group.create_task(stay(10))
        await asyncio.sleep(0.03)
        group.create_task(stay(10))
        group.create_task(stay(0.04))
    assert outcomes == [False, True, False, True]
