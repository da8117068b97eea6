"""Counts what the library executes: the instructions of Python, which are the same on a busy machine."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_OURS = f"{os.sep}context_async_sqlalchemy"


class Executed:
    """How many instructions of Python the library has executed in this thread."""

    def __init__(self) -> None:
        self.instructions = 0


@contextmanager
def executed() -> Generator[Executed]:
    """Count during the block. A loop counts by its rounds; a loop within C, such as a search in a list, does not."""
    counted = Executed()

    def enter(frame: FrameType, _event: str, _arg: Any) -> Any:
        if _OURS not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        return step

    def step(_frame: FrameType, event: str, _arg: Any) -> Any:
        counted.instructions += event == "opcode"
        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield counted
    finally:
        sys.settrace(before)
