"""Waiting for a state instead of for a time."""

import asyncio
from collections.abc import Awaitable, Callable

_DEADLINE = 30.0
_PAUSE = 0.005


async def turns(count: int = 5) -> None:
    """Let the event loop turn: in five turns, what can go on has gone on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds.

    Args:
        condition: looked at every few milliseconds.
        what: said if it does not hold within half a minute.

    Raises:
        AssertionError: the condition did not come to hold.

    """

    async def look() -> bool:
        return condition()

    await until_async(look, what)


async def until_async(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until an awaitable condition holds; see :func:`until`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _DEADLINE
    while not await condition():
        assert loop.time() < deadline, f"did not happen within {_DEADLINE:g} s: {what}"
        await asyncio.sleep(_PAUSE)
