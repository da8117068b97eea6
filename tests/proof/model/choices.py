"""What the rules choose from."""

from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st

from tests.proof.model.comparison import (
    NAMES,
    next_number,
)
from tests.proof.model.model import BAD, DOOM, FAILURE

names: Final = st.sampled_from([*NAMES, NAMES[0]])
openings: Final = st.sampled_from(["block", "by hand", "forced"])
endings: Final = st.sampled_from(["", "commit", "rollback", "close"])
kinds: Final = st.sampled_from(["row", "row", "read", "doom", "failure", "add", "add a bad one", "flush"])
modes: Final = st.sampled_from(["commit", "rollback", "append", "raise", "unknown"])
bodies: Final = st.lists(st.sampled_from(["row", "read", "doom", "failure", "handler's error"]), max_size=2)


def row_of(kind: str) -> int | None:
    if kind == "read":
        return None
    return {"doom": DOOM, "failure": FAILURE, "handler's error": BAD}.get(kind) or next_number()


async def call_in_place(function: Callable[..., object], *args: Any) -> object:
    """Call a function that does not await in the run's own context."""
    return function(*args)
