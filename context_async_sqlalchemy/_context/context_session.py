"""The AsyncSession subclass of contexts, which reuses greenlets for commits and follows its open streams.

Statements cost nothing extra. Error handling looks up the connections of a session only after a failure.
"""

from functools import cache
from types import FunctionType
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Transaction
from sqlalchemy.ext.asyncio import AsyncResult, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from context_async_sqlalchemy._runtime.greenlets import run_in_kept_greenlet

from .late_use import refuse
from .streams import Streams


def _is_sqlalchemys(commit: object) -> bool:
    """Return whether ``ContextSession.commit`` may replace this function, because both do the same.

    A tracer or a test may have replaced the function. A later SQLAlchemy may do more in it than 2.0 and 2.1 do.
    """
    # The type is compared exactly, because a proxy (wrapt's) looks like a function otherwise.
    return type(commit) is FunctionType and commit.__code__.co_names == ("greenlet_spawn", "sync_session", "commit")


_COMMIT = AsyncSession.commit if _is_sqlalchemys(AsyncSession.commit) else None


class ContextSession(AsyncSession):
    """An AsyncSession that knows whether one of its server-side cursors is being read."""

    _streams: Streams | None = None

    async def commit(self) -> None:
        """Commit as SQLAlchemy does, in a reused greenlet. See docs/decisions/0005."""
        if AsyncSession.commit is _COMMIT:
            await run_in_kept_greenlet(self.sync_session.commit)
        else:
            # A tracer or a test has replaced the method after the import of this module.
            await super().commit()

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


@cache
def _context_session_class(base: type[AsyncSession]) -> type[ContextSession]:
    if base is AsyncSession:
        return ContextSession
    members: dict[str, Any] = {"__module__": base.__module__}
    if base.commit is not AsyncSession.commit:
        members["commit"] = base.commit
    return type(base.__name__, (ContextSession, base), members)


def context_session_maker(maker: async_sessionmaker[AsyncSession]) -> async_sessionmaker[AsyncSession]:
    """Return a maker of :class:`ContextSession` that follows the application's own maker.

    Args:
        maker: the application's maker. The sessions derive from its ``class_``. Its options are shared, so that later
            changes by ``configure`` take effect. A maker of another type, such as a mock, is returned unchanged.

    """
    if type(maker) is not async_sessionmaker:
        return maker
    follower: async_sessionmaker[AsyncSession] = async_sessionmaker(class_=_context_session_class(maker.class_))  # type: ignore[arg-type]
    follower.kw = maker.kw
    return follower


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
