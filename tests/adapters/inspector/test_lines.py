"""The line that a task awaits at: the application's, not that of a library."""

import asyncio
import sysconfig
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from context_async_sqlalchemy_inspector import lines
from context_async_sqlalchemy_inspector.lines import awaited_line


async def test_it_is_the_innermost_line_of_the_application() -> None:
    async def pay() -> None:
        await asyncio.sleep(60)

    async def handle() -> None:
        await pay()

    task = asyncio.create_task(handle())
    await asyncio.sleep(0)
    line = awaited_line(task)
    assert line is not None
    assert line.startswith("inspector/test_lines.py:")
    assert line.endswith(" pay")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert awaited_line(task) is awaited_line(None) is None


_SITE = sysconfig.get_path("purelib")
_DEBIAN = "/usr/lib/python3/dist-packages"


def _call_in(file: str, name: str) -> Callable[..., Any]:
    """Return a coroutine function of another file, which awaits what another function returns."""
    namespace: dict[str, Any] = {}
    exec(compile(f"async def {name}(awaited):\n    await awaited", file, "exec"), namespace)  # noqa: S102 - of the test
    function: Callable[[Awaitable[object]], Any] = namespace[name]
    return function


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        (["/srv/shop/orders.py", f"{_SITE}/redis/asyncio/client.py"], "shop/orders.py:2 f0"),
        (["/srv/shop/orders.py", f"{_DEBIAN}/redis/asyncio/client.py"], "shop/orders.py:2 f0"),
        (["/srv/.venv/lib/python3/site-packages/redis/client.py", "/srv/shop/orders.py"], "shop/orders.py:2 f1"),
        ([f"{_SITE}/shop/orders.py", f"{_SITE}/sqlalchemy/orm/session.py"], "shop/orders.py:2 f0"),
        ([f"{_SITE}/aiohttp/web_protocol.py", f"{_DEBIAN}/anyio/to_thread.py"], None),
        ([f"{sysconfig.get_path('stdlib')}/asyncio/tasks.py", lines.__file__, "<string>"], None),
    ],
)
async def test_what_is_installed_is_shown_only_if_nothing_else_is_awaited(files: list[str], shown: str | None) -> None:
    awaited: Any = asyncio.sleep(60)
    for number, file in reversed(list(enumerate(files))):
        awaited = _call_in(file, f"f{number}")(awaited)
    task = asyncio.create_task(awaited)
    await asyncio.sleep(0)
    assert awaited_line(task) == shown
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
