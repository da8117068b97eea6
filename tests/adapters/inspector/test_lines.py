"""The line that a task awaits at: the application's, not that of a library."""

import asyncio
import sysconfig

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


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("/srv/shop/orders.py", "shop/orders.py"),
        (f"{sysconfig.get_path('purelib')}/shop/orders.py", "shop/orders.py"),
        (f"{sysconfig.get_path('purelib')}/sqlalchemy/orm/session.py", None),
        (f"{sysconfig.get_path('stdlib')}/asyncio/tasks.py", None),
        (lines.__file__, None),
        ("<string>", None),
    ],
)
def test_files_of_python_and_of_known_libraries_are_left_out(file: str, shown: str | None) -> None:
    assert lines._shown(file) == shown  # pyright: ignore[reportPrivateUsage]
