"""Running to the end, however often the caller is cancelled."""

import asyncio
from collections.abc import Awaitable

import anyio
import pytest

from context_async_sqlalchemy._runtime.shield import run_to_end
from tests.support.waiting import turns


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
    caller = asyncio.create_task(_text(run_to_end(work.run())))
    await turns()
    for _ in range(cancellations):
        caller.cancel()
        await turns()
    assert not caller.done()
    work.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.done
    assert caller.cancelling() == cancellations


async def test_the_failure_of_work_whose_caller_was_cancelled_is_the_cause() -> None:
    work = Work(KeyError("why"))
    caller = asyncio.create_task(_text(run_to_end(work.run())))
    await turns()
    caller.cancel()
    await turns()
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


async def test_nobody_is_cancelled_by_work_that_lets_a_cancelled_error_out() -> None:
    async def cancelled() -> str:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="nobody cancelled its caller"):
        await run_to_end(cancelled())


async def test_work_that_only_yields_to_the_loop_ends_too() -> None:
    async def yields() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "result"

    assert await run_to_end(yields()) == "result"
    caller = asyncio.create_task(_text(run_to_end(yields())))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_cancellation_in_the_turn_in_which_the_work_could_go_on_is_not_lost() -> None:
    work = Work()
    caller = asyncio.create_task(_text(run_to_end(work.run())))
    await turns()
    work.go_on.set()
    caller.cancel()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.done


async def test_what_the_work_waits_for_may_fail() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[BaseException] = []

    async def work() -> str:
        try:
            return await future
        except ConnectionError as error:
            seen.append(error)
            await asyncio.sleep(0.001)
            return "made good"

    caller = asyncio.create_task(_text(run_to_end(work())))
    await turns()
    error = ConnectionError("gone")
    future.set_exception(error)
    assert await caller == "made good"
    assert seen == [error]


async def test_what_the_work_waits_for_may_fail_after_the_caller_was_cancelled() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> str:
        return await future

    caller = asyncio.create_task(_text(run_to_end(work())))
    await turns()
    caller.cancel()
    await turns()
    future.set_exception(ConnectionError("gone"))
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await caller
    assert isinstance(cancelled.value.__cause__, ConnectionError)


async def test_a_cancelled_callers_work_goes_on_through_several_waits() -> None:
    steps: list[int] = []

    async def work() -> str:
        for step in range(3):
            await asyncio.sleep(0.005)
            steps.append(step)
        async with asyncio.timeout(20):
            await asyncio.sleep(0)
        return "result"

    caller = asyncio.create_task(_text(run_to_end(work())))
    await turns()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert steps == [0, 1, 2]


async def test_a_time_out_that_the_work_withdraws_itself_does_not_cancel_the_caller() -> None:
    # psycopg looks for interrupts so on its older versions: it waits again after each tenth of a second.
    work = Work()
    asyncio.get_running_loop().call_later(0.03, work.go_on.set)

    async def polls() -> str:
        while not work.done:
            try:
                async with asyncio.timeout(0.01):
                    await work.run()
            except TimeoutError:
                continue
        return "result"

    caller = asyncio.create_task(_text(run_to_end(polls())))
    assert await caller == "result"
    assert caller.cancelling() == 0


def test_work_that_has_begun_survives_the_end_of_asyncio_run() -> None:
    work = Work()

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.02, work.go_on.set)
        callers.append(asyncio.create_task(run_to_end(work.run())))
        await turns()

    callers: list[asyncio.Task[str]] = []
    asyncio.run(main())
    assert work.done
    assert callers[0].cancelled()


def test_a_task_may_be_cancelled_while_its_loop_does_not_run() -> None:
    """As ``asyncio.run`` does at its end with what is left."""
    with asyncio.Runner() as runner:
        loop, work = runner.get_loop(), Work()
        caller = loop.create_task(_text(run_to_end(work.run())))
        runner.run(turns())
        caller.cancel()
        runner.run(turns())
        work.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(caller)
        assert work.done


async def test_a_cancellation_that_was_withdrawn_meanwhile_is_none() -> None:
    work = Work()
    caller = asyncio.create_task(run_to_end(work.run()))
    await turns()
    caller.cancel()
    await turns()
    caller.uncancel()
    work.go_on.set()
    assert await caller == "result"


async def _text(awaitable: Awaitable[str]) -> str:
    return await awaitable
