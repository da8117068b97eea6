"""A context of one's own: for jobs, websocket messages, and queries that run concurrently."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from .context import leave_context, open_context
from .finishing import finish

P = ParamSpec("P")
T = TypeVar("T")


@asynccontextmanager
async def db_context() -> AsyncGenerator[None]:
    """Open a context for a block: its sessions are committed at the end, or rolled back by an exception.

    A context that is open already is left alone: the block has sessions, transactions and connections of its
    own. Hooks and time limits are those of the application in whose request or task it runs.

    Raises:
        Exception: what a failing commit raised; everything is rolled back and closed.

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


async def run_in_new_ctx(callable_func: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a context of its own: committed when it returns, rolled back when it raises.

    Args:
        callable_func: the coroutine function; ``db_session`` gives it sessions of its own.
        args: its positional arguments.
        kwargs: its keyword arguments.

    Example::

        await asyncio.gather(
            run_in_new_ctx(load_orders, user_id),
            run_in_new_ctx(load_invoices, user_id),
        )

    """
    async with db_context():
        return await callable_func(*args, **kwargs)
