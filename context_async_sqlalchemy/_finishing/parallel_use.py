"""Says what it is when several tasks use one session at the same time."""

from typing import cast

from sqlalchemy.exc import InvalidRequestError

PARALLEL_USE = (
    "Another task is using the session at this moment, and a session serves one task at a time: tasks of one "
    "asyncio.gather share it, or a task has outlived its request. Give each task a session of its own: "
    "run_in_new_ctx(function, ...)"
)

_CODE = "isce"
"""SQLAlchemy's code of its errors about concurrent use, under which its documentation explains them."""


def explain_parallel_use(error: BaseException | None) -> None:
    """Add a note to SQLAlchemy's errors about concurrent use, also to those within a group. Others stay as they are."""
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            explain_parallel_use(each)
    elif isinstance(error, InvalidRequestError) and error.code == _CODE and not _is_explained(error):
        error.add_note(PARALLEL_USE)


def _is_explained(error: BaseException) -> bool:
    # By a context within this one.
    return PARALLEL_USE in getattr(error, "__notes__", ())
