"""The AsyncSession that a context hands out: SQLAlchemy's own, which keeps what it commits in and what it streams.

Nothing here costs a statement anything: what a fault needs is looked up when there is one.
"""

from functools import cache
from types import FunctionType
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Transaction
from sqlalchemy.ext.asyncio import AsyncResult, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from context_async_sqlalchemy._runtime.greenlets import run_in_kept_greenlet
from context_async_sqlalchemy.exceptions import ContextClosedError

from .streams import Streams


def _is_sqlalchemys(commit: object) -> bool:
    """Whether a commit does what ``ContextSession.commit`` does in its place, and nothing else.

    Not where a tracer or a test has replaced it, nor in a SQLAlchemy that makes more of it than 2.0 and 2.1 do.
    """
    # A proxy (wrapt's) passes for a function in everything but its type.
    return type(commit) is FunctionType and commit.__code__.co_names == ("greenlet_spawn", "sync_session", "commit")


_COMMIT = AsyncSession.commit if _is_sqlalchemys(AsyncSession.commit) else None


class ContextSession(AsyncSession):
    """An AsyncSession that knows whether a server-side cursor of it is being read."""

    _streams: Streams | None = None

    async def commit(self) -> None:
        """Commit as SQLAlchemy does, in a greenlet that was kept."""
        if AsyncSession.commit is _COMMIT:
            await run_in_kept_greenlet(self.sync_session.commit)
        else:
            # It may have been replaced since.
            await super().commit()

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Execute and stream as SQLAlchemy does, and follow the result (``stream_scalars`` calls this)."""
        result = await super().stream(*args, **kwargs)
        if self._streams is None:
            self._streams = Streams()
        return self._streams.follow(result, self.sync_session.get_transaction())

    @property
    def is_streaming(self) -> bool:
        """Whether a server-side cursor is being read: a commit would destroy it under its reader."""
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
        maker: the application's maker; its ``class_`` is subclassed, its options are shared, also those that
            ``configure`` changes later. A stand-in of another type is returned as it is.

    """
    if type(maker) is not async_sessionmaker:
        return maker
    follower: async_sessionmaker[AsyncSession] = async_sessionmaker(class_=_context_session_class(maker.class_))  # type: ignore[arg-type]
    follower.kw = maker.kw
    return follower


def sync_session_of(session: AsyncSession) -> Session | None:
    """Return the Session behind an AsyncSession, or None for a stand-in (a mock) that has none."""
    sync_session = getattr(session, "sync_session", None)
    return sync_session if isinstance(sync_session, Session) else None


def refuse_statements(session: AsyncSession) -> None:
    """Make a session of an ended context raise ContextClosedError before it takes a connection.

    A session that the application made itself, and put into the context, is left alone.
    """
    if isinstance(session, ContextSession):
        # SQLAlchemy asks for the bind before it asks the pool. On the instance: a session in use pays nothing.
        session.sync_session.get_bind = refuse  # type: ignore[method-assign]


def refuse(*_args: Any, **_kwargs: Any) -> Any:
    """Raise ContextClosedError: the ``get_bind`` of a session whose context has ended."""
    raise ContextClosedError


def held_connections(session: AsyncSession) -> list[tuple[Connection, Transaction]]:
    """Return the connections that a session's transaction holds, with what it has begun there.

    SQLAlchemy has no public way to do so: ``Session.connection()`` would take one where there is none, and an
    ``after_begin`` event costs every transaction about 1 %. Only a session that is rolled back is asked.
    """
    sync_session = sync_session_of(session)
    transaction = sync_session.get_transaction() if sync_session is not None else None
    if transaction is None:
        return []
    entries: dict[Any, tuple[Any, ...]] = getattr(transaction, "_connections", None) or {}
    return [(entry[0], entry[1]) for key, entry in entries.items() if isinstance(key, Connection)]


def give_back_what_comes_late(session: AsyncSession) -> None:
    """Return a connection at once that a left-over task of an ended context is still waiting for."""
    sync_session = sync_session_of(session)
    if sync_session is not None:
        event.listen(sync_session, "after_begin", _give_back)


def _give_back(_session: Session, _transaction: object, connection: Connection) -> None:
    connection.close()
    raise ContextClosedError
