"""Keeps greenlets. SQLAlchemy makes one for each call of an AsyncSession, and making it often costs more than the call.

CPython maps 16 KB of memory for the frames of a new greenlet, and unmaps the memory when the greenlet ends
(``allocate_chunk`` in Python/pystate.c, 3.11 to 3.13). A greenlet that waits for its next call keeps this memory.

``run_in_kept_greenlet`` does the work of SQLAlchemy's ``greenlet_spawn``. The decorator ``in_kept_greenlets`` runs the
code of SQLAlchemy's functions with the former in the place of the latter, for one class. To remove all of this, delete
this module, its tests, and the decorator where it is used. An environment variable turns it off. See
docs/decisions/0005.
"""

import inspect
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from functools import update_wrapper
from types import FunctionType
from typing import Any, TypeVar, cast
from zlib import crc32

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped] # it has no types; sqlalchemy[asyncio] needs it
from sqlalchemy.util import await_only, greenlet_spawn

T = TypeVar("T")

_current: Callable[[], Any] = getcurrent

VARIABLE = "CONTEXT_ASYNC_SQLALCHEMY_KEEP_GREENLETS"
"""The environment variable that turns this off, if it is ``0``."""

_MOST_KEPT = 64
"""The most idle greenlets of a thread, ready for concurrent calls."""

_DEEPEST = 100
"""The most frames below the maker of a kept greenlet.

A greenlet counts the frames below its maker against the recursion limit of every call that it runs.
"""

_ENDED = object()
"""A kept greenlet gives this to the task that drives it when a call has ended."""


class _KeptGreenlet(greenlet):  # type: ignore[misc] # greenlet has no types
    """A greenlet that runs one call after another. A call that raises ends the greenlet.

    Attributes:
        result: of the last call, until the task that drives the greenlet has taken it.
        is_parent: whether another greenlet was made in it, and will switch to it.

    """

    __slots__ = ("is_parent", "result")

    # SQLAlchemy's await_only asks for it, and then gives the awaitable to the parent of the greenlet.
    __sqlalchemy_greenlet_provider__ = True

    result: Any
    is_parent: bool


def _serve() -> None:
    # The first switch brings no call, because a greenlet refers to the arguments of its function until it ends. This
    # frame has no variable for its greenlet, because the garbage collector would not see such a cycle.
    while True:
        function, args, kwargs = _current().parent.switch(_ENDED)
        _current().result = function(*args, **kwargs)
        # An idle greenlet refers to nothing of a call.
        del function, args, kwargs


class _Thread(threading.local):
    def __init__(self) -> None:
        # Any, because greenlet has no types.
        self.idle: list[Any] = []


_thread = _Thread()


def _is_shallow() -> bool:
    try:
        # This is documented. A walk along ``f_back`` would be slower, because it makes an object for each frame.
        sys._getframe(_DEEPEST)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    except ValueError:
        return True
    return False


async def run_in_kept_greenlet(
    function: Callable[..., T], /, *args: Any, _require_await: bool = False, **kwargs: Any
) -> T:
    """Return the result of a synchronous call of SQLAlchemy's, as ``greenlet_spawn`` does.

    Args:
        function: is called in an idle greenlet, or in a new one that is kept.
        args: the arguments of the call.
        _require_await: whether a call that awaits nothing is an error. Such a call gets SQLAlchemy's own greenlet.
        kwargs: the arguments of the call by keyword.

    Raises:
        Exception: the call raised it.

    """
    idle = _thread.idle
    driver = _current()
    if driver.parent is not None or _require_await or not (idle or _is_shallow()):
        # A kept greenlet has the thread's main greenlet as its parent, and few frames below its maker.
        if type(driver) is _KeptGreenlet:
            # An eager task was made in a call. SQLAlchemy's greenlet will switch to this one after the call has ended.
            driver.is_parent = True
        return await greenlet_spawn(function, *args, _require_await=_require_await, **kwargs)
    if idle:
        kept = idle.pop()
    else:
        kept = cast("Any", _KeptGreenlet(_serve))
        kept.is_parent = False
        kept.switch()
    kept.gr_context = driver.gr_context
    received = kept.switch((function, args, kwargs))
    while received is not _ENDED:
        try:
            value = await received
        except BaseException:  # noqa: BLE001 - a cancellation too: the call gets it where it waits
            if kept.dead:
                # The call raised GreenletExit, which greenlet makes the result, and which cannot be awaited.
                return cast("T", received)
            received = kept.throw(*sys.exc_info())
        else:
            received = kept.switch(value)
    result: T = kept.result
    # The contextvars may hold a request.
    kept.result = kept.gr_context = None
    if len(idle) < _MOST_KEPT and not kept.is_parent:
        idle.append(kept)
    else:
        kept.throw()
    return result


class _InKeptGreenlets:
    """A method of SQLAlchemy's whose code calls ``run_in_kept_greenlet`` where it says ``greenlet_spawn``.

    If something has replaced the method on SQLAlchemy's class, such as a tracer or a test, the replacement is called.
    """

    def __init__(self, owner: Any, name: str, theirs: FunctionType, names: dict[str, Any]) -> None:
        self._owner, self._name, self._theirs = owner, name, theirs
        namespace = {**theirs.__globals__, **names}
        self._ours = FunctionType(theirs.__code__, namespace, theirs.__name__, theirs.__defaults__, theirs.__closure__)
        self._ours.__kwdefaults__ = theirs.__kwdefaults__
        update_wrapper(self._ours, theirs)
        self._base = next(base for base in owner.__mro__ if name in vars(base))

    def __get__(self, instance: object, _owner: type) -> Any:
        if getattr(self._base, self._name) is not self._theirs:
            return getattr(cast("Any", super(self._owner, self._owner if instance is None else instance)), self._name)
        return self._ours if instance is None else self._ours.__get__(instance)


def _fingerprint(function: object) -> int:
    """Return a number that differs if a function uses other names. It is the same on all versions of CPython."""
    if type(function) is not FunctionType:
        return 0
    code = function.__code__
    return crc32(" ".join((*code.co_names, *code.co_varnames)).encode())


_TESTED = {(2038346335, 1160478720): "2.0.56 to 2.0.58", (200747950, 3095041891): "2.1.6 to 2.1.9"}
"""The fingerprints of ``greenlet_spawn`` and ``await_only`` in the versions of SQLAlchemy that this was tested with."""


def _is_used() -> bool:
    if os.environ.get(VARIABLE) == "0":
        return False
    fingerprints = (_fingerprint(greenlet_spawn), _fingerprint(await_only))
    if fingerprints in _TESTED:
        return True
    logging.getLogger("context_async_sqlalchemy").debug(
        "each call of a session gets a new greenlet, because this version of SQLAlchemy is not known: %s", fingerprints
    )
    return False


IS_USED = _is_used()
"""Whether greenlets are kept."""


def in_kept_greenlets(**names: type) -> Callable[[type[T]], type[T]]:
    """Return a decorator: the functions that a class inherits from SQLAlchemy run in kept greenlets.

    Args:
        names: other names that these functions are to find, such as the class of a transaction.

    """

    def decorate(cls: type[T]) -> type[T]:
        for name in dir(cls) if IS_USED else ():
            function = inspect.getattr_static(cls, name)
            # The type is compared exactly, because a proxy (wrapt's) looks like a function otherwise.
            if type(function) is FunctionType and _is_sqlalchemys(function) and _calls(function, replaced):
                setattr(cls, name, _InKeptGreenlets(cls, name, function, replaced))
        return cls

    replaced = {"greenlet_spawn": run_in_kept_greenlet, **names}
    return decorate


def _is_sqlalchemys(function: FunctionType) -> bool:
    return (
        function.__globals__.get("__name__", "").startswith("sqlalchemy.ext.asyncio.")
        and function.__globals__.get("greenlet_spawn") is greenlet_spawn
    )


def _calls(function: FunctionType, names: Iterable[str]) -> bool:
    return not set(names).isdisjoint(function.__code__.co_names)
