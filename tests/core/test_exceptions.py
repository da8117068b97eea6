"""The library's exceptions reach another process whole: worker pools and result backends pickle them."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import pytest

from context_async_sqlalchemy import (
    CommitTimeoutError,
    ContextAlreadyInitiatedError,
    ContextClosedError,
    ContextNotInitiatedError,
    PartialCommitError,
    PoolOverloadedError,
)

_MAKERS: list[Callable[[], Exception]] = [
    ContextNotInitiatedError,
    ContextAlreadyInitiatedError,
    ContextClosedError,
    partial(ContextClosedError, "a message of the application's own"),
    partial(CommitTimeoutError, "main", 2.5),
    partial(PartialCommitError, ["first", "second"], "main", ["last"]),
    partial(PoolOverloadedError, "main", "max_wait=0.5", 5, 5, 12, 0.5),
]


def _pickled(error: Exception) -> Exception:
    copied: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301 - pickled here
    return copied


@pytest.mark.parametrize("duplicate", [_pickled, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("make", _MAKERS)
def test_a_copy_says_and_holds_the_same(
    make: Callable[[], Exception], duplicate: Callable[[Exception], Exception]
) -> None:
    error = make()
    error.add_note("a note")
    copied = duplicate(error)
    assert copied is not error
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert copied.args == error.args
    assert vars(copied) == vars(error)
    assert copied.__notes__ == error.__notes__


def test_the_attributes_tell_what_the_message_tells() -> None:
    late = CommitTimeoutError("main", 2.5)
    assert (late.connection, late.seconds) == ("main", 2.5)
    partly = PartialCommitError(["first", "second"], "main", ["last"])
    assert (partly.committed, partly.failed, partly.rolled_back) == (("first", "second"), "main", ("last",))


def _fail() -> None:
    raise PartialCommitError(["first"], "main", [])


def test_an_error_of_a_worker_process_reaches_its_caller() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        raised = pool.submit(_fail).exception(timeout=60)
    assert isinstance(raised, PartialCommitError)
    assert raised.committed == ("first",)
