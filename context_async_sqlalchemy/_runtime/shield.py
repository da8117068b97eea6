"""Running a coroutine to its end, however often its caller is cancelled; but not for ever."""

import asyncio
import sys
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")

_Wakeup = Callable[[asyncio.Future[Any]], object]


class Completion:
    """The way of one coroutine to its end, whatever happens to its caller.

    A COMMIT that is interrupted costs the physical connection and leaves its outcome unknown, so whatever
    talks to the database at the end of a context goes through here. The work must be bounded in time by itself.
    """

    # To asyncio this is also the future that the caller's task waits for; see `run`.
    _asyncio_future_blocking = False
    _awaited: "asyncio.Future[Any] | None" = None
    _is_refused = False
    _task: "asyncio.Task[Any] | None" = None
    _wakeup: _Wakeup
    _wakeup_context: Context
    is_interrupted = False

    @types.coroutine
    def run(self, coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Run a coroutine in the caller's task, and what is left of it in another one if the caller is cancelled.

        A task for each COMMIT costs 3 to 4 % of a short transaction, and hardly any of them is cancelled. So the
        caller's task drives the coroutine, but waits for this object in place of the future that the coroutine waits
        for: a cancellation of the task is asyncio's call of ``cancel()`` on what it waits for.

        Args:
            coroutine: the work. It must not use what cancels the task that it runs in (``asyncio.timeout``): nobody
                could tell that from a cancellation of the caller.

        Raises:
            asyncio.CancelledError: the caller was cancelled while the work ran. The work has ended all the same;
                if it failed, its exception is the ``__cause__``.

        """
        while True:
            try:
                awaited = coroutine.send(None)
            except StopIteration as end:
                result: T = end.value
                return result
            self._awaited = awaited
            try:
                if awaited is None:  # asyncio.sleep(0)
                    yield None
                else:
                    awaited._asyncio_future_blocking = False  # noqa: SLF001 - the protocol of asyncio.isfuture()
                    self._asyncio_future_blocking = True
                    yield self
            except GeneratorExit:
                coroutine.close()
                raise
            except asyncio.CancelledError as cancellation:
                if awaited is None or self._is_refused:
                    outlasting = self._outlast(cancellation, _rest(coroutine, awaited))
                    result = yield from outlasting.__await__()
                    return result
            except BaseException:  # noqa: BLE001, S110 - what the future failed with: the coroutine asks it itself
                pass

    async def run_in_task(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in a task of its own: for work that may use ``asyncio.timeout`` and the like.

        Raises:
            asyncio.CancelledError: see :meth:`run`.

        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        task = self._task = loop.create_task(_wake_at_the_end(coroutine, done))
        # For a task that is cancelled before its first step, which runs no code of its own.
        task.add_done_callback(lambda _task: _wake(done))
        try:
            await done
        except asyncio.CancelledError as cancellation:
            return await self._outlast(cancellation, task)
        result: T = task.result()
        return result

    def failure_of_work(self, raised: BaseException) -> BaseException | None:
        """Return what the work has failed with, given what ``run`` has raised; None: only its caller was cancelled."""
        task = self._task
        if task is None:
            return raised
        return asyncio.CancelledError() if task.cancelled() else task.exception()

    def interrupt(self) -> bool:
        """Cancel the work itself; tell whether that was possible now."""
        if self._task is not None:
            self._task.cancel()
        elif self._awaited is None or not self._awaited.cancel():
            return False
        self.is_interrupted = True
        return True

    async def _outlast(
        self, cancellation: asyncio.CancelledError, work: "asyncio.Task[T] | Coroutine[Any, Any, T]"
    ) -> T:
        """Wait for the work's end, whatever comes, and raise the cancellation then."""
        caller = asyncio.current_task()
        cancellations = caller.cancelling() if caller is not None else 0
        task = self._task = work if isinstance(work, asyncio.Task) else asyncio.create_task(work)
        if not task.done():
            await _outlast_cancellations(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise cancellation from error
        if caller is not None and caller.cancelling() < cancellations:
            # Withdrawn: a time-out of the work's own (a driver's), which took the caller's task for its own.
            return task.result()
        raise cancellation

    # What a task asks of the future that it waits for (Lib/asyncio/tasks.py, __step and cancel):

    # The task compares it with its own. A C function, as this is asked for at each commit.
    get_loop = staticmethod(asyncio.get_running_loop)

    def add_done_callback(self, wakeup: _Wakeup, *, context: Context) -> None:
        """Have the task woken when the coroutine can go on."""
        self._wakeup = wakeup
        self._wakeup_context = context
        if self._awaited is not None:
            self._awaited.add_done_callback(wakeup, context=context)

    def cancel(self, msg: object = None) -> bool:
        """Wake the task with its cancellation, and leave alone what the coroutine waits for."""
        awaited = self._awaited
        if awaited is None or awaited.done():
            self._is_refused = True
            return False  # The task is about to be woken, and throws it in then.
        if not self._is_refused:
            self._is_refused = True
            awaited.remove_done_callback(self._wakeup)
            # The loop may not be running: asyncio.run() cancels what is left at its end.
            cancelled = awaited.get_loop().create_future()
            cancelled.add_done_callback(self._wakeup, context=self._wakeup_context)
            cancelled.cancel(msg)
        return True


async def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, in a task of its own; see :meth:`Completion.run_in_task`."""
    return await Completion().run_in_task(coroutine)


async def _rest(coroutine: Coroutine[Any, Any, T], awaited: asyncio.Future[Any] | None) -> T:
    """Run what is left of a coroutine that another task has begun to drive."""
    return await _drive_on(coroutine, awaited)


@types.coroutine
def _drive_on(coroutine: Coroutine[Any, Any, T], awaited: asyncio.Future[Any] | None) -> Generator[Any, Any, T]:
    if awaited is not None:
        awaited._asyncio_future_blocking = True  # noqa: SLF001 - as its own __await__ had left it
    is_waiting = awaited is not None and not awaited.done()
    error: BaseException | None = None
    while True:
        if is_waiting:
            try:
                yield awaited
            except BaseException as thrown:  # noqa: BLE001 - passed on to the coroutine
                error = thrown
        is_waiting = True
        try:
            awaited = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as end:
            result: T = end.value
            return result
        error = None


async def _wake_at_the_end(coroutine: Coroutine[Any, Any, T], done: asyncio.Future[None]) -> T:
    # The task's own callbacks come one turn of the loop later; asyncio.shield takes two.
    try:
        return await coroutine
    finally:
        _wake(done)


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


class Watch:
    """Interrupts work that stays in a section for too long.

    ``asyncio.timeout`` in its place costs about 2 % of a short transaction, a timer of its own as much: both
    schedule and cancel a timer each time. Here one timer serves all work, and runs only as often as the limit.

    Args:
        seconds: how long work may stay.

    """

    _RETRY = 0.01

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entered: dict[Completion, tuple[asyncio.AbstractEventLoop, float]] = {}
        self._looking: set[asyncio.AbstractEventLoop] = set()
        # A C function, as each commit calls it.
        self.leave: Callable[[Completion], object] = self._entered.pop
        """Watch work no more; ``completion.is_interrupted`` tells whether it stayed too long."""

    def enter(self, completion: Completion) -> None:
        """Begin to watch work; ``leave`` must follow."""
        loop = asyncio.get_running_loop()
        self._entered[completion] = loop, monotonic()
        if loop not in self._looking:
            self._begin_to_look(loop)

    def _begin_to_look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = {other for other in self._looking if not other.is_closed()} | {loop}
        loop.call_later(self._seconds, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = monotonic()
        next_due: float | None = None
        for completion, (its_loop, since) in list(self._entered.items()):
            if its_loop is not loop or completion.is_interrupted:
                continue
            left = since + self._seconds - now
            if left <= 0:
                if completion.interrupt():
                    continue
                left = self._RETRY
            if next_due is None or left < next_due:
                next_due = left
        if next_due is None:
            self._looking.discard(loop)
        else:
            loop.call_later(next_due, self._look, loop)


async def _outlast_cancellations(task: asyncio.Task[Any]) -> None:
    anyio = sys.modules.get("anyio")
    if anyio is None:
        await _wait(task)
    else:
        # A cancelled anyio scope cancels again at each turn of the loop: without its own shield we would spin.
        with anyio.CancelScope(shield=True):
            await _wait(task)


async def _wait(task: asyncio.Task[Any]) -> None:
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            # The first cancellation is raised at the end; asyncio.Task.cancelling() has counted this one.
            continue
