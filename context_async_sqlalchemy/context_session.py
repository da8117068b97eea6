"""The Session that a context hands out: SQLAlchemy's own, which also knows that its context has ended.

Only documented extension points of SQLAlchemy are used: overridden ``Session.get_bind``, ``execute`` and
``close``, ``close_resets_only`` and the ``after_begin`` event.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, SessionTransaction

from .exceptions import ContextClosedError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class ContextSession(Session):
    """A Session that remembers the connections it holds and refuses work once its context has ended."""

    context_ended = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.held_connections: list[Connection] = []
        self._streams: list[Any] = []

    def get_bind(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse a statement after the context's end, before it takes a connection that nobody would return."""
        if self.context_ended:
            raise ContextClosedError
        return super().get_bind(*args, **kwargs)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Execute as SQLAlchemy does, and remember a result that is read through a server-side cursor."""
        result = super().execute(*args, **kwargs)
        options = kwargs.get("execution_options")
        if options and options.get("stream_results"):
            self._streams.append(result)
        return result

    def close(self) -> None:
        """Close for good at the context's end; before that, close is a reset, as it is by default."""
        if self.context_ended:
            super().close()
        else:
            self.reset()

    @property
    def is_streaming(self) -> bool:
        """Whether a server-side cursor is being read: a commit would destroy it under its reader."""
        # `closed` does not tell a result that was read to its end; on all Result classes `_soft_closed` does.
        return any(not result._soft_closed for result in self._streams)  # noqa: SLF001

    def begins_with(self, connection: "Connection") -> None:
        """Note that a transaction has begun on a connection; what an earlier one held is gone."""
        if self.held_connections and self.held_connections[0].closed:
            self.held_connections.clear()
            self._streams.clear()
        self.held_connections.append(connection)

    def end(self) -> None:
        """Refuse work from now on."""
        self.context_ended = True


def _hold(session: ContextSession, transaction: SessionTransaction, connection: "Connection") -> None:
    if transaction.nested:
        return
    if session.context_ended:
        # A task that outlived the context was waiting for this connection while the session was closed.
        connection.close()
        raise ContextClosedError
    session.begins_with(connection)


event.listen(ContextSession, "after_begin", _hold)


@cache
def _context_session_class(base: type[Session]) -> type[ContextSession]:
    if base is Session:
        return ContextSession
    return type(base.__name__, (ContextSession, base), {"__module__": base.__module__})


def new_context_session(maker: async_sessionmaker[AsyncSession]) -> AsyncSession:
    """Make a session by the application's own maker, as a :class:`ContextSession` where that is possible.

    Args:
        maker: the application's session maker; its options and its ``sync_session_class`` are kept. A maker
            of another kind (a mock, a ``sessionmaker`` as ``sync_session_class``) is called as it is.

    """
    if type(maker) is not async_sessionmaker or maker.class_.__init__ is not AsyncSession.__init__:
        return maker()
    base = maker.kw.get("sync_session_class") or maker.class_.sync_session_class
    if not isinstance(base, type):
        return maker()
    return maker(sync_session_class=_context_session_class(base), close_resets_only=False)


def sync_session_of(session: AsyncSession) -> Session | None:
    """Return the Session behind an AsyncSession, or None for a stand-in (a mock) that has none."""
    sync_session = getattr(session, "sync_session", None)
    return sync_session if isinstance(sync_session, Session) else None
