"""The AsyncSession subclass of contexts, which follows its open streams.

Statements cost nothing extra. Error handling looks up the connections of a session only after a failure.
"""

from functools import cache
from typing import Any, cast

from sqlalchemy import event
from sqlalchemy.engine import Connection, Transaction
from sqlalchemy.ext.asyncio import AsyncResult, AsyncSession, AsyncSessionTransaction, async_sessionmaker
from sqlalchemy.orm import Session

from context_async_sqlalchemy._runtime.greenlets import in_kept_greenlets

from .late_use import refuse
from .streams import Streams


class ContextSession(AsyncSession):
    """An AsyncSession that knows whether one of its server-side cursors is being read."""

    _streams: Streams | None = None

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Execute and stream as SQLAlchemy does, and follow the result. ``stream_scalars`` calls this too."""
        result = await super().stream(*args, **kwargs)
        if self._streams is None:
            self._streams = Streams()
        return self._streams.follow(result, self.sync_session.get_transaction())

    @property
    def is_streaming(self) -> bool:
        """Whether a server-side cursor is being read, which a commit would destroy under its reader."""
        return self._streams is not None and self._streams.are_read_in(self.sync_session.get_transaction())


@in_kept_greenlets()
class _Transaction(AsyncSessionTransaction):
    __slots__ = ()


@in_kept_greenlets(AsyncSessionTransaction=_Transaction)
class _SQLAlchemysSession(AsyncSession):
    """SQLAlchemy's own functions, below those of an application's class."""


@cache
def _context_session_class(base: type[AsyncSession]) -> type[ContextSession]:
    applications = () if base is AsyncSession else (base,)
    bases: Any = (ContextSession, *applications, _SQLAlchemysSession)
    return cast("type[ContextSession]", type(base.__name__, bases, {"__module__": base.__module__}))


def context_session(maker: async_sessionmaker[AsyncSession]) -> AsyncSession:
    """Return a new :class:`ContextSession` with the class and the options of the application's own maker.

    Args:
        maker: the application's maker. A maker of another type, such as a mock, makes the session itself.

    """
    if type(maker) is not async_sessionmaker:
        return maker()
    # mypy does not see that a class is hashable, as the cache needs it.
    return _context_session_class(maker.class_)(**maker.kw)  # type: ignore[arg-type]


def sync_session_of(session: AsyncSession) -> Session | None:
    """Return the Session behind an AsyncSession, or None for a mock. See docs/decisions/0009."""
    sync_session = getattr(session, "sync_session", None)
    return sync_session if isinstance(sync_session, Session) else None


def refuse_statements(session: AsyncSession) -> None:
    """Make a session of an ended context raise ContextClosedError before it takes a connection or reports a commit.

    A session that the application made itself, and put into the context, is left alone.
    """
    if isinstance(session, ContextSession):
        # SQLAlchemy asks for the bind before it asks the pool. The method is replaced on the instance, so that open
        # sessions cost nothing extra.
        sync_session = session.sync_session
        sync_session.get_bind = refuse  # type: ignore[method-assign]
        # These need no bind if the session has nothing to do, and would report a success.
        sync_session.commit = refuse  # type: ignore[method-assign]
        sync_session.begin = refuse  # type: ignore[method-assign]
        sync_session.begin_nested = refuse  # type: ignore[method-assign]


def held_connections(session: AsyncSession) -> list[tuple[Connection, Transaction]]:
    """Return the connections that a session's transaction holds, each with its transaction.

    SQLAlchemy has no public way to find them. ``Session.connection()`` would check out a connection if the session
    holds none, and an ``after_begin`` listener would slow every transaction (see docs/decisions/0013). This function
    is called only for sessions that are rolled back or closed.
    """
    sync_session = sync_session_of(session)
    transaction = sync_session.get_transaction() if sync_session is not None else None
    if transaction is None:
        return []
    entries: dict[Any, tuple[Any, ...]] = getattr(transaction, "_connections", None) or {}
    return [(entry[0], entry[1]) for key, entry in entries.items() if isinstance(key, Connection)]


def give_back_what_comes_late(session: AsyncSession) -> None:
    """Return a connection immediately that a remaining task of an ended context still waits for."""
    sync_session = sync_session_of(session)
    if sync_session is not None:
        event.listen(sync_session, "after_begin", _give_back)


def _give_back(_session: Session, _transaction: object, connection: Connection) -> None:
    connection.close()
    refuse()
