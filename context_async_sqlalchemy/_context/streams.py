"""Knows which results of ``session.stream()`` of one session are still being read.

If the application no longer refers to a stream, the stream is abandoned. So streams are followed by weak references.
SQLAlchemy's results do not support weak references. Therefore a stream is a subclass of :class:`AsyncResult` that does.
"""

from typing import Any, TypeVar
from weakref import WeakKeyDictionary, ref

from sqlalchemy.ext.asyncio import AsyncMappingResult, AsyncResult, AsyncScalarResult
from sqlalchemy.orm import SessionTransaction

from context_async_sqlalchemy._runtime.greenlets import in_kept_greenlets


class Streams:
    """The streams of one session."""

    def __init__(self) -> None:
        self._transactions: WeakKeyDictionary[Stream, ref[SessionTransaction]] = WeakKeyDictionary()

    def follow(self, result: AsyncResult[Any], transaction: SessionTransaction | None) -> AsyncResult[Any]:
        """Return a result like the given result that is followed until it is abandoned, or its transaction ends."""
        stream = Stream(result._real_result)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - an AsyncResult has nothing else
        if transaction is not None:
            self._transactions[stream] = ref(transaction)
        return stream

    def are_read_in(self, transaction: SessionTransaction | None) -> bool:
        """Return whether a server-side cursor of a transaction is still being read.

        A stream does not count if it was read to its end, was abandoned, or lost its cursor with its transaction.
        """
        return transaction is not None and any(
            # Not `closed`, because it stays False for a result that was read to its end.
            of() is transaction and not stream._soft_closed  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            for stream, of in self._transactions.items()
        )


@in_kept_greenlets()
class Stream(AsyncResult[Any]):
    """An AsyncResult that supports weak references."""

    __slots__ = ("__weakref__",)

    def scalars(self, index: Any = 0) -> AsyncScalarResult[Any]:
        """Return the scalars as SQLAlchemy does. The scalars keep the stream alive."""
        scalars = _like(super().scalars(index), _StreamScalars)
        scalars.stream = self
        return scalars

    def mappings(self) -> AsyncMappingResult:
        """Return the mappings as SQLAlchemy does. The mappings keep the stream alive."""
        mappings = _like(super().mappings(), _StreamMappings)
        mappings.stream = self
        return mappings


@in_kept_greenlets()
class _StreamScalars(AsyncScalarResult[Any]):
    __slots__ = ("stream",)
    stream: Stream


@in_kept_greenlets()
class _StreamMappings(AsyncMappingResult):
    __slots__ = ("stream",)
    stream: Stream


W = TypeVar("W", _StreamScalars, _StreamMappings)


def _like(view: AsyncScalarResult[Any] | AsyncMappingResult, derived: type[W]) -> W:
    """Return an object of a derived class that has the attributes of a view.

    The constructor is not called, because its arguments differ between SQLAlchemy 2.0 and 2.1.
    """
    copy = derived.__new__(derived)
    for base in type(view).__mro__:
        for name in getattr(base, "__slots__", ()):
            if hasattr(view, name):
                setattr(copy, name, getattr(view, name))
    return copy
