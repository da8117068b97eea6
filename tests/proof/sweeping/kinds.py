"""The ways in which a task can be cancelled."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, cast

import anyio


class Kind(ABC):
    """One way of cancelling; an object of it cancels one run."""

    name: str
    is_striking = True
    """Whether a cancellation of a task, at this moment, may be due to this; what is known of some kinds only."""
    has_cancelled = False
    """Whether this has cancelled a task; what is known of some kinds only."""

    @abstractmethod
    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the work in the task of the caller, or in one that it awaits."""

    @abstractmethod
    def strike(self) -> None:
        """Cancel."""

    def strike_at(self, awaited: Any) -> None:  # noqa: ARG002 - for those that choose the moment by it
        """Cancel while a task at a suspension point is about to wait for something."""
        self.strike()

    def strike_again(self) -> None:
        """Cancel once more."""
        self.strike()

    @abstractmethod
    def explains(self, error: BaseException | None) -> bool:
        """Tell whether this is how the work ends for the caller, after one strike."""


class TaskCancel(Kind):
    """``task.cancel()`` while the task waits."""

    name = "cancel"
    _task: asyncio.Task[Any] | None = None

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.current_task()
        await work

    def strike(self) -> None:
        if self._task is not None and self._task.cancel():
            self.has_cancelled = True

    def explains(self, error: BaseException | None) -> bool:
        return isinstance(error, asyncio.CancelledError) if self.has_cancelled else error is None


class LateCancel(TaskCancel):
    """``task.cancel()`` when what the task waits for is done, and the task about to be woken by it."""

    name = "late"

    def strike_at(self, awaited: Any) -> None:
        if isinstance(awaited, asyncio.Future):
            # The task adds its own callback after this one.
            cast("asyncio.Future[object]", awaited).add_done_callback(self._cancel_when_done)
        else:
            asyncio.get_running_loop().call_soon(self.strike)

    def _cancel_when_done(self, _future: asyncio.Future[object]) -> None:
        self.strike()


class TimeOut(Kind):
    """``asyncio.timeout`` whose deadline is reached at the point; for a second time, one around it."""

    name = "timeout"
    _inner: asyncio.Timeout | None = None
    _outer: asyncio.Timeout | None = None

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(None) as self._outer, asyncio.timeout(None) as self._inner:
            await work

    def strike(self) -> None:
        self._reach(self._inner)

    def strike_again(self) -> None:
        self._reach(self._outer)

    def explains(self, error: BaseException | None) -> bool:
        # The work may end in the turn of the loop in which the deadline is reached.
        has_expired = self._inner is not None and self._inner.expired()
        return isinstance(error, TimeoutError) if has_expired else error is None

    @staticmethod
    def _reach(deadline: asyncio.Timeout | None) -> None:
        if deadline is not None:
            deadline.reschedule(asyncio.get_running_loop().time())


class _SiblingFailedError(Exception):
    pass


class Sibling(Kind):
    """Another task of the same ``asyncio.TaskGroup`` fails; for a second time, the group's owner is cancelled."""

    name = "sibling"

    def __init__(self) -> None:
        self._fails = asyncio.Event()
        self._owner: asyncio.Task[Any] | None = None
        self._worker: asyncio.Task[None] | None = None

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        self._owner = asyncio.current_task()
        async with asyncio.TaskGroup() as group:
            sibling = group.create_task(self._fail())
            self._worker = group.create_task(work)
            self._worker.add_done_callback(lambda _: None if self._fails.is_set() else sibling.cancel())

    async def _fail(self) -> None:
        await self._fails.wait()
        raise _SiblingFailedError

    def strike(self) -> None:
        self._fails.set()

    def strike_again(self) -> None:
        if self._owner is not None:
            self._owner.cancel()

    def explains(self, error: BaseException | None) -> bool:
        if not isinstance(error, BaseExceptionGroup):
            return False
        return cast("BaseExceptionGroup[BaseException]", error).subgroup(_SiblingFailedError) is not None


class Scope(Kind):
    """An anyio cancel scope, which cancels again at each turn of the loop; for a second time, ``task.cancel()``."""

    name = "scope"

    def __init__(self) -> None:
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.current_task()
        with self._scope:
            await work

    def strike(self) -> None:
        self._scope.cancel()

    def strike_again(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def explains(self, error: BaseException | None) -> bool:
        # The work may end in the turn of the loop in which anyio cancels.
        return error is None and self._scope.cancel_called


KINDS: list[type[Kind]] = [TaskCancel, LateCancel, TimeOut, Sibling, Scope]
