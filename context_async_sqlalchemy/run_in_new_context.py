"""Separate contexts: for jobs, websocket messages, and queries that run concurrently."""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn, ParamSpec, TypeVar, overload

from ._context.checks import require_awaitable
from ._context.context import Context
from ._context.current import current_context, leave_context, open_context
from ._finishing.finish import finish
from ._redaction import kind_of
from .retry import Retry, may_run_again, pause

P = ParamSpec("P")
T = TypeVar("T")

_RUN = "the function of run_in_new_ctx"


@asynccontextmanager
async def db_context() -> AsyncGenerator[None]:
    """Open a context for a block. The end of the block commits its sessions, and an exception rolls them back.

    A context that is open already is left alone: the block has separate sessions, transactions and connections. Its
    hooks and time limits are those of the surrounding context, if there is one.

    Raises:
        Exception: a commit failed. Everything is rolled back and closed.

    """
    context, token = open_context()
    try:
        try:
            yield
        except BaseException:
            await finish(context, commit=False)
            raise
        await finish(context, commit=True)
    finally:
        leave_context(token)


@overload
async def run_in_new_ctx(callable_func: Callable[..., Awaitable[T]], *args: Any, retry: Retry, **kwargs: Any) -> T: ...


@overload
async def run_in_new_ctx(callable_func: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T: ...


async def run_in_new_ctx(callable_func: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
    """Run a function in a separate context, which commits when the function returns and rolls back when it raises.

    Args:
        callable_func: the coroutine function. ``db_session`` gives it the sessions of the separate context.
        args: the positional arguments of the function.
        kwargs: the keyword arguments of the function. A ``retry`` that is a :class:`Retry` is not passed on: after a
            serialization failure or a deadlock the function is run again, each time in a fresh context, unless a part
            of the context has been committed. A ``retry`` of another type is passed to the function.

    Raises:
        TypeError: the first argument is not a function, for example because it was called: ``run_in_new_ctx(f())``. Or
            the function is not async.
        Exception: the function or its commit raised it. If the error is retryable and was not retried, a note on the
            error says why.

    Example::

        await asyncio.gather(
            run_in_new_ctx(load_orders, user_id),
            run_in_new_ctx(load_invoices, user_id),
        )
        await run_in_new_ctx(transfer, source, target, amount, retry=Retry(attempts=5))

    """
    if not callable(callable_func):
        _refuse(callable_func)
    retry = kwargs.get("retry")
    if isinstance(retry, Retry):
        del kwargs["retry"]
        return await _run_again(retry, callable_func, *args, **kwargs)
    async with db_context():
        return await require_awaitable(callable_func(*args, **kwargs), _RUN)


def _refuse(given: object) -> NoReturn:
    if inspect.iscoroutine(given):
        # Otherwise Python warns that the coroutine was never awaited.
        given.close()
        raise TypeError(
            f"run_in_new_ctx takes a function and its arguments, and got the coroutine of a call: write "
            f"run_in_new_ctx({given.__name__}, ...) in place of run_in_new_ctx({given.__name__}(...)). A coroutine "
            "cannot be run again"
        )
    raise TypeError(f"run_in_new_ctx takes a coroutine function and its arguments: got {kind_of(given)}")


async def _run_again(retry: Retry, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    attempt = 1
    while True:
        context: Context | None = None
        try:
            async with db_context():
                context = current_context()
                context.count_own_commits()
                return await require_awaitable(function(*args, **kwargs), _RUN)
        except Exception as error:
            if context is None or not may_run_again(context, retry, attempt, error):
                raise
        await pause(retry.delay(attempt))
        attempt += 1
